-- 51-worker-functions
--     Functions that start and stop the workers of this database, and say what
--     runs.

CREATE FUNCTION @extschema@.rc_start() RETURNS boolean
AS 'MODULE_PATHNAME', 'rc_start' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_start() IS 'starts the workers of this database; false if they were running';

CREATE FUNCTION @extschema@.rc_stop() RETURNS integer
AS 'MODULE_PATHNAME', 'rc_stop' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_stop() IS 'stops the workers of this database and returns the number that were running';

CREATE FUNCTION rappel_conso.worker_pid(kind text, name text DEFAULT '', number integer DEFAULT 0) RETURNS integer
AS 'MODULE_PATHNAME', 'rc_worker_pid' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rappel_conso.worker_pid(text, text, integer) IS 'process id of a worker of this database: kind is scheduler, run, stream or outbox; null if it is not running';

CREATE FUNCTION rappel_conso.is_preloaded() RETURNS boolean
AS 'MODULE_PATHNAME', 'rc_is_preloaded' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rappel_conso.is_preloaded() IS 'whether the server starts the workers of this database when it starts';

CREATE FUNCTION rappel_conso.library_version() RETURNS text
AS 'MODULE_PATHNAME', 'rc_library_version' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION rappel_conso.library_version() IS 'version of the loaded library';
