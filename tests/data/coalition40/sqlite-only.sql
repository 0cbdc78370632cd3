-- What only SQLite keeps: numbers and texts of any kind, long names, names that differ in case.
UPDATE Jobs SET priority = 127.0 WHERE id = 8;
UPDATE Jobs SET priority = 1.8e19 WHERE id = 9;
UPDATE Jobs SET title = CAST(x'e974e9' AS TEXT) WHERE id = 26;
UPDATE Jobs SET timeout = 'soon', duration = 1e999, run_done = -5 WHERE id = 20;
INSERT INTO Events (id, worker, job_id, job_title, state, start, duration) VALUES
  (7, 'sun', 8, 'C:\\\\temp\\\\new\\tfolder', 'WORKING', 1500000400, 0);
INSERT INTO Workers (name, state, finished, error, last_job, current_event, active)
  VALUES ('Sun', 'STARTING', 0, 0, -1, -1, 1);
INSERT INTO Workers (name, state, active)
  VALUES (replace(hex(zeroblob(150)), '00', 'xy'), 'WAITING', 1);
