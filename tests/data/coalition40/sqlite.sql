-- The tables of Coalition 4.0 in SQLite.
CREATE TABLE Jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, parent INT DEFAULT 0, title TEXT DEFAULT '',
  command TEXT DEFAULT '', dir TEXT DEFAULT '.', environment TEXT DEFAULT '',
  state TEXT DEFAULT 'WAITING', paused BOOLEAN DEFAULT 0, worker TEXT DEFAULT '',
  start_time INT DEFAULT 0, duration INT DEFAULT 0, run_done INT DEFAULT 0, timeout INT DEFAULT 0,
  priority UNSIGNED INT DEFAULT 8, affinity TEXT DEFAULT '', affinity_bits BIGINT DEFAULT 0,
  user TEXT DEFAULT '', finished INT DEFAULT 0, errors INT DEFAULT 0, working INT DEFAULT 0,
  total INT DEFAULT 0, total_finished INT DEFAULT 0, total_errors INT DEFAULT 0,
  total_working INT DEFAULT 0, url TEXT DEFAULT '', progress FLOAT,
  progress_pattern TEXT DEFAULT '', h_affinity BIGINT DEFAULT 0,
  h_priority UNSIGNED BIGINT DEFAULT 0, h_paused BOOLEAN DEFAULT 0, h_depth INT DEFAULT 0
);
CREATE INDEX Parent_index ON Jobs (parent);
CREATE TABLE Dependencies (job_id INT, dependency INT);
CREATE INDEX JobId_index ON Dependencies (job_id);
CREATE INDEX Dependency_index ON Dependencies (dependency);
CREATE TABLE Workers (
  name TEXT, start_time TIMESTAMP DEFAULT CURRENT_TIMESTAMP, ip TEXT, affinity TEXT DEFAULT '',
  state TEXT, finished INT, error INT, last_job INT, current_event INT, cpu TEXT, free_memory INT,
  total_memory INT, active BOOLEAN
);
CREATE UNIQUE INDEX Name_index ON Workers (name);
CREATE TABLE WorkerAffinities (
  id INTEGER PRIMARY KEY AUTOINCREMENT, worker_name TEXT, affinity BIGINT DEFAULT 0,
  ordering INT DEFAULT 0
);
CREATE INDEX worker_name_index ON WorkerAffinities (worker_name);
CREATE TABLE Events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, worker TEXT, job_id INT, job_title TEXT, state TEXT,
  start INT, duration INT
);
CREATE INDEX Worker_index ON Events (worker);
CREATE INDEX Start_index ON Events (start);
CREATE TABLE Affinities (id INTEGER, name TEXT);
