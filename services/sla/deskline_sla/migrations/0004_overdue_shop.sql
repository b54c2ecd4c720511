-- Whose hours say for how long a clock has been overdue. Empty where a release without the column wrote the row: then _default's do.
ALTER TABLE overdue_clocks ADD COLUMN shop_id text NOT NULL DEFAULT '';
