-- Version 1: its number has a table, and workers have lines of affinities in one, as bits.
CREATE TABLE Migrations (database_version INT);
INSERT INTO Migrations (database_version) VALUES (1);
INSERT INTO WorkerAffinities (worker_name, affinity, ordering) VALUES
  ('sun', 3, 2), ('sun', 4611686018427387908, 1), ('sun', 0, 3), ('moon', 24, 1), ('mars', 1, 1);
