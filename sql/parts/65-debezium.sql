-- 65-debezium
--     Single values of Debezium's messages, for statements that users write.
--     Nothing here may read a table, or depend on a setting.

CREATE FUNCTION @extschema@.rc_debezium_decimal(value text, scale integer) RETURNS numeric
AS 'MODULE_PATHNAME', 'rc_debezium_decimal' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.rc_debezium_decimal(text, integer) IS 'number of a decimal that Debezium or Kafka Connect has written as base64 of its digits; scale is that of the column';

CREATE FUNCTION @extschema@.rc_debezium_date(days integer) RETURNS date
AS 'MODULE_PATHNAME', 'rc_debezium_date' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.rc_debezium_date(integer) IS 'date that Debezium has written as days since 1970';

CREATE FUNCTION @extschema@.rc_debezium_timestamp(value bigint, unit text) RETURNS timestamp
AS 'MODULE_PATHNAME', 'rc_debezium_timestamp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.rc_debezium_timestamp(bigint, text) IS 'timestamp that Debezium has written as units since 1970; unit is s, ms, us or ns';

CREATE FUNCTION @extschema@.rc_debezium_time(value bigint, unit text) RETURNS time
AS 'MODULE_PATHNAME', 'rc_debezium_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.rc_debezium_time(bigint, text) IS 'time that Debezium has written as units since midnight; unit is s, ms, us or ns';

CREATE FUNCTION @extschema@.rc_debezium_bytes(value text) RETURNS bytea
AS 'MODULE_PATHNAME', 'rc_debezium_bytes' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.rc_debezium_bytes(text) IS 'bytes that Debezium has written as base64, with either alphabet';

CREATE FUNCTION @extschema@.rc_debezium_bits(value text, length integer) RETURNS bit varying
AS 'MODULE_PATHNAME', 'rc_debezium_bits' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.rc_debezium_bits(text, integer) IS 'bits that Debezium has written as base64, the last one first; length is that of the column';
