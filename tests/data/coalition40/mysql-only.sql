-- What only MySQL does: names that differ in case are the same, and texts may be latin1.
UPDATE Jobs SET title = _latin1 x'e974e9' WHERE id = 26;
INSERT INTO Events (id, worker, job_id, job_title, state, start, duration) VALUES
  (7, 'SUN', 8, 'C:\\temp\\new\tfolder', 'WORKING', 1500000400, 0);
