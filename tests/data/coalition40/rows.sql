-- Rows of both: 4.0 sends the same statements to SQLite and to MySQL, where backslashes mean more.

-- A film: job 4 is held by 2 and 3, and twice by 3; the counters are none that 4.0 left to be right.
INSERT INTO Jobs (id, parent, title, command, dir, environment, state, paused, worker, start_time,
  duration, run_done, timeout, priority, affinity, affinity_bits, user, working, total, progress,
  progress_pattern, url, h_priority) VALUES
  (1, 0, 'film', '', '.', '', 'WAITING', 0, '', 0, 0, 0, 0, 200, 'LINUX', 1, 'ann', 7, 9, 0.9, '', '', 14411518807585587200),
  (2, 1, 'frame 1', 'true', '/tmp', 'None', 'FINISHED', 0, 'sun', 1500000100, 60, 1, 1000, 127, '', 0, 'ann', 0, 0, 0.5, '', 'http://film/1', 0),
  (3, 1, 'frame 2', 'true', '/tmp', 'None', 'WORKING', 0, 'sun', 1500000200, 0, 0, 1000, 127, 'OLD', 2, 'ann', 0, 0, 0.25, '', '', 0),
  (4, 1, 'join', 'true', '/tmp', 'None', 'PENDING', 0, '', 0, 0, 0, 0, 0, '#3,#63', 4611686018427387908, 'ann', 0, 0, NULL, '', '', 0);
INSERT INTO Dependencies (job_id, dependency) VALUES (4, 2), (4, 3), (4, 3);

-- Ends, pauses, and a job that was reset: its start is forgotten, its log is not.
INSERT INTO Jobs (id, title, command, dir, environment, state, paused, worker, start_time, duration,
  run_done, affinity, user, progress, progress_pattern, url) VALUES
  (5, 'broken', 'false', '.', '', 'ERROR', 0, 'moon', 1500000300, 5, 2, '', '', 0.75, '', ''),
  (6, 'held', 'true', '.', '', 'PAUSED', 1, '', 0, 0, 0, '', '', NULL, '', ''),
  (7, 'again', 'true', '.', '', 'WAITING', 0, 'moon', 0, 7, 1, '', '', 1, '', '');

-- Texts: two backslashes were one, and each n behind one a new line.
INSERT INTO Jobs (id, title, command, dir, environment, state, worker, affinity, user, url, progress_pattern) VALUES
  (8, 'C:\\temp\\new\tfolder', "echo it's \\$HOME", 'C:\\work', 'A=1\\nB=2', 'WAITING', '', '', 'DOM\\ann', '', '%percent \\d'),
  (9, 'two lines', 'echo 1\necho 2', '', 'A=1\nB=2', 'WAITING', '', ',', '', '', '');

-- What cannot be: jobs that wait for themselves or for each other, for what is gone, or for nothing.
INSERT INTO Jobs (id, parent, title, command, dir, state, worker, affinity) VALUES
  (11, 0, 'self', 'true', '.', 'PENDING', '', ''),
  (12, 0, 'hen', 'true', '.', 'PENDING', '', ''),
  (13, 0, 'egg', 'true', '.', 'PENDING', '', ''),
  (14, 0, 'orphan of a deleted one', 'true', '.', 'PENDING', '', ''),
  (15, 888, 'lost', 'true', '.', 'WAITING', '', ''),
  (16, 0, 'command with a job below', 'echo mixed', '.', 'WAITING', '', ''),
  (17, 16, 'below it', 'true', '.', 'WAITING', '', ''),
  (18, 0, 'emptied', '', '.', 'FINISHED', '', ''),
  (19, 0, 'after the emptied', 'true', '.', 'PENDING', '', ''),
  (20, 0, 'odd', 'true', '.', 'DONE', '', ''),
  (22, 0, 'group', '', '.', 'WAITING', '', ''),
  (23, 22, 'waits for its group', 'true', '.', 'PENDING', '', ''),
  (24, 25, 'ring', '', '.', 'WAITING', '', ''),
  (25, 24, 'ring', '', '.', 'WAITING', '', '');
INSERT INTO Dependencies (job_id, dependency) VALUES
  (11, 11), (12, 13), (13, 12), (14, 999), (777, 5), (19, 18), (23, 22);

-- Nothing at all, much of it, and ids that were given and are gone.
INSERT INTO Jobs (id, parent, title, command, dir, environment, state, paused, worker, start_time,
  duration, run_done, timeout, priority, affinity, affinity_bits, user, url, progress_pattern) VALUES
  (21, NULL, NULL, 'true', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (26, 0, 'first of all', 'echo taken over', '.', 'None', 'WAITING', 0, '', 0, 0, 0, 1000, 255, '', 0, '', '', ''),
  (40, 0, 'gone', 'true', '.', '', 'WAITING', 0, '', 0, 0, 0, 0, 8, '', 0, '', '', '');
DELETE FROM Jobs WHERE id = 40;

-- 4.0 takes the title of an event from the job; one that it did not see the end of stays open.
INSERT INTO Events (id, worker, job_id, job_title, state, start, duration) VALUES
  (1, 'sun', 2, 'frame 1', 'FINISHED', 1500000100, 60),
  (2, 'moon', 7, 'again', 'FINISHED', 1500000150, 7),
  (3, 'sun', 3, 'frame 2', 'WORKING', 1500000200, 0),
  (4, 'moon', 5, 'broken', 'WORKING', 1500000250, 0),
  (5, 'moon', 5, 'broken', 'ERROR', 1500000300, 5),
  (6, 'mars', 39, 'deleted long ago', 'FINISHED', 1400000000, 3),
  (70, NULL, NULL, NULL, NULL, NULL, NULL);
DELETE FROM Events WHERE id = 70;

-- Bit 2 had another name when job 3 came; 4 and 5 have the same; no list can hold 6, or call 7.
INSERT INTO Affinities (id, name) VALUES
  (1, 'LINUX'), (2, 'GPU'), (3, ''), (4, 'TWICE'), (5, 'TWICE'), (6, 'A,B'), (7, '@sun'), (8, NULL),
  (63, ''), (64, 'beyond');

INSERT INTO Workers (name, start_time, ip, affinity, state, finished, error, last_job,
  current_event, cpu, free_memory, total_memory, active) VALUES
  ('sun', '2017-07-14 02:40:00', '', '', 'WORKING', 3, 1, 3, 3, '[0]', 0, 0, 1),
  ('moon', '2017-07-14 02:40:00', '', '', 'TIMEOUT', 2, 5, 5, 5, '[0]', 0, 0, 0),
  ('', '2017-07-14 02:40:00', '', '', 'WAITING', 0, 0, -1, -1, '[0]', 0, 0, 1);
