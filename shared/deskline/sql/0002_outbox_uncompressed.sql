-- Rows of the outbox live for milliseconds: compressing them costs a third of writing them and saves nothing.
ALTER TABLE outbox ALTER COLUMN payload SET STORAGE EXTERNAL;
