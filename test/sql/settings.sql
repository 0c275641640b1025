--
-- Settings: what they are, who may see and change them.  None of them can be
-- changed but by the server's own configuration.
--
\set SHOW_CONTEXT never
CREATE EXTENSION rappel_conso;
-- Their definitions come with the library.
SELECT rappel_conso.library_version() IS NOT NULL AS loaded;
SELECT name, boot_val, unit, vartype, context, min_val, max_val FROM pg_settings
 WHERE name ~ '^rappel_conso\.' ORDER BY name COLLATE "C";
-- Each has a description that ends like a sentence.
SELECT name, short_desc FROM pg_settings WHERE name ~ '^rappel_conso\.' AND short_desc !~ '^[A-Z].*\.$';

SET rappel_conso.kafka_brokers = 'localhost:9092';
SELECT set_config('rappel_conso.kafka_brokers', 'localhost:9092', true);
SELECT set_config('rappel_conso.http_timeout', '5', false);
ALTER ROLE CURRENT_USER SET rappel_conso.kafka_brokers = 'localhost:9092';
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET rappel_conso.databases = %L', current_database(), 'postgres'); END $$;
CREATE FUNCTION sneak() RETURNS int LANGUAGE sql SET rappel_conso.user_agent = 'x' AS 'SELECT 1';
-- A name that is none of ours.
SET rappel_conso.password = 'secret';
SET rappel_conso.kafka_broker = '';
-- Values out of range.  The words differ between the server's versions.
\set VERBOSITY sqlstate
ALTER SYSTEM SET rappel_conso.http_timeout = 0;
ALTER SYSTEM SET rappel_conso.http_timeout = '2h';
\set VERBOSITY default
ALTER SYSTEM SET rappel_conso.http_timeout = 'soon';
ALTER SYSTEM SET rappel_conso.keep_history = -1;
ALTER SYSTEM SET rappel_conso.keep_history = 36501;
ALTER SYSTEM SET rappel_conso.fast_paths = 'rows, row';

-- Who may see them.
CREATE ROLE regress_rc_visitor;
SET ROLE regress_rc_visitor;
SELECT current_setting('rappel_conso.http_timeout') IS NOT NULL, current_setting('rappel_conso.kafka_brokers') IS NOT NULL;
\set VERBOSITY sqlstate
SHOW rappel_conso.kafka_config_file;
SHOW rappel_conso.http_config_file;
\set VERBOSITY default
SELECT name FROM pg_settings WHERE name ~ '^rappel_conso\..*_config_file$';
ALTER SYSTEM SET rappel_conso.http_timeout = 10;
RESET ROLE;
DROP ROLE regress_rc_visitor;
DROP EXTENSION rappel_conso;
