-- Version 0, an early one: a worker has one list of affinities, and its bits.
DROP TABLE WorkerAffinities;
ALTER TABLE Workers ADD affinity_bits BIGINT DEFAULT 0;
UPDATE Workers SET affinity = 'LINUX,TWICE', affinity_bits = 0 WHERE name = 'sun';
UPDATE Workers SET affinity = 'OLD', affinity_bits = 3 WHERE name = 'moon';
