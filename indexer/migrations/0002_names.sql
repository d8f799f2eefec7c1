-- What people call a run by, beside its CAR: multihashes of the CIDs of what was signed, and of the task. Runs that were
-- indexed before have neither.
ALTER TABLE executions ADD COLUMN invocation BLOB;
ALTER TABLE executions ADD COLUMN task BLOB;
CREATE INDEX executions_by_invocation ON executions (invocation) WHERE reverted = 0;
CREATE INDEX executions_by_task ON executions (task) WHERE reverted = 0;
