-- 25-stopped
--     State of the database's workers as a whole.  Only rc_stop() and rc_start()
--     write it.

CREATE TABLE rappel_conso.stopped (
  one boolean PRIMARY KEY DEFAULT true CONSTRAINT stopped_one_check CHECK (one),
  stopped_at timestamptz NOT NULL
);
COMMENT ON TABLE rappel_conso.stopped IS 'has a row after rc_stop(): the launcher does not start workers until rc_start() or a restart of the server';
COMMENT ON COLUMN rappel_conso.stopped.one IS 'always true: the table has at most one row';
COMMENT ON COLUMN rappel_conso.stopped.stopped_at IS 'when rc_stop() was called';
