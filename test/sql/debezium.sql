--
-- rc_debezium_*(): single values as Debezium writes them, beside PostgreSQL's
-- own types.
--
CREATE EXTENSION rappel_conso;

SELECT p.oid::regprocedure AS function, pg_get_function_result(p.oid) AS result, provolatile, proisstrict, proparallel
  FROM pg_proc p WHERE proname ~ '^rc_debezium_' AND proname <> 'rc_debezium_fold' ORDER BY 1::text;

-- Decimals.  A number of whole digits as Java's BigInteger.toByteArray() has
-- it, the shortest two's complement.
CREATE FUNCTION pg_temp.big_integer(n numeric) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  hex text := '';
  rest numeric := n;
  byte integer;
BEGIN
  LOOP
    byte := mod(mod(rest, 256) + 256, 256);
    hex := lpad(to_hex(byte), 2, '0') || hex;
    rest := div(rest - byte, 256);
    EXIT WHEN (rest = 0 AND byte < 128) OR (rest = -1 AND byte >= 128);
  END LOOP;
  RETURN replace(encode(decode(hex, 'hex'), 'base64'), chr(10), '');
END
$$;
SELECT value, scale, rc_debezium_decimal(value, scale) AS decimal
  FROM (VALUES ('EtaH', 2), ('A+c=', 2), ('Kg==', 0), ('/w==', 30), ('/av0HAE=', 2), ('gAAAAAAAAAA=', 2), ('AA==', 3), ('gA==', -1),
               ('_w==', 1), ('AYA', 2), ('82DTYy+5ixIVwAAAAQ==', 10), ('BWvHXi1jEAAA', 0)) v (value, scale);
SELECT count(*) AS wrong
  FROM (SELECT s * (power(2::numeric, bits) + plus) AS n, scale
          FROM generate_series(0, 200, 3) bits, generate_series(-2, 2) plus, (VALUES (1), (-1)) a (s), (VALUES (0), (1), (9), (38), (100)) b (scale)
        UNION ALL
        SELECT repeat(digits, 250)::numeric, 0 FROM (VALUES ('123456789'), ('9'), ('90000000'), ('1000000000')) d (digits)) v
 WHERE rc_debezium_decimal(pg_temp.big_integer(round(n)), scale) IS DISTINCT FROM round(n) * ('1e-' || scale)::numeric;
SELECT length(rc_debezium_decimal(many, 0)::text) AS digits, length(rc_debezium_decimal(many, 16383)::text) AS with_a_point,
       rc_debezium_decimal('AQ==', 16383) = '1e-16383'::numeric AS smallest, rc_debezium_decimal('AQ==', -131071) = '1e131071'::numeric AS largest
  FROM (SELECT replace(encode(decode('7f' || repeat('ff', 54425), 'hex'), 'base64'), chr(10), '')) v (many);

-- Dates, of all that PostgreSQL has.
SELECT count(*) AS dates, count(*) FILTER (WHERE rc_debezium_date(d) IS DISTINCT FROM '1970-01-01'::date + d) AS wrong
  FROM (SELECT d FROM generate_series(-2440588, 2145042905, 199999) d
        UNION ALL SELECT d FROM generate_series(-800000, -700000) d
        UNION ALL SELECT d FROM generate_series(-1000, 30000) d
        UNION ALL VALUES (-2440588), (2145042905)) v;
SELECT rc_debezium_date(-622191234) AS infinity, rc_debezium_date(-719529) AS bc, rc_debezium_date(2932897) AS five_digits;

-- Timestamps and times.
CREATE TEMP TABLE sample (t timestamp);
INSERT INTO sample SELECT timestamp '4714-11-24 00:00:00 BC' + i * interval '9999 days 12:34:56.789012' FROM generate_series(0, 10900) i;
INSERT INTO sample SELECT timestamp '1969-12-31 23:59:58' + i * interval '0.001001 seconds' FROM generate_series(0, 3000) i;
INSERT INTO sample VALUES ('294247-01-10 04:00:54.775806'), ('4714-11-24 00:00:00 BC'), ('0001-01-01'), ('0001-12-31 23:59:59.999999 BC');
SELECT count(*) AS timestamps, count(*) FILTER (WHERE rc_debezium_timestamp((extract(epoch FROM t) * 1000000)::bigint, 'us') IS DISTINCT FROM t) AS wrong
  FROM sample WHERE t < '294247-01-10 04:00:54.775807';
SELECT count(*) FILTER (WHERE rc_debezium_timestamp((extract(epoch FROM date_trunc('milliseconds', t)) * 1000)::bigint, 'ms') IS DISTINCT FROM
                              date_trunc('milliseconds', t)) AS wrong_ms,
       count(*) FILTER (WHERE rc_debezium_timestamp(extract(epoch FROM date_trunc('second', t))::bigint, 's') IS DISTINCT FROM date_trunc('second', t)) AS wrong_s
  FROM sample;
SELECT count(*) AS timestamps, count(*) FILTER (WHERE rc_debezium_timestamp(ns, 'ns') IS DISTINCT FROM t) AS wrong
  FROM (SELECT t, CASE WHEN t BETWEEN '1677-09-22' AND '2262-04-11' THEN (extract(epoch FROM t) * 1000000000)::bigint END FROM sample) v (t, ns)
 WHERE ns IS NOT NULL;
SELECT rc_debezium_timestamp(-1, 's') AS s, rc_debezium_timestamp(-1, 'ms') AS ms, rc_debezium_timestamp(-1, 'us') AS us,
       rc_debezium_timestamp(-1499, 'ns') AS ns, rc_debezium_timestamp(9223372036854775807, 'us') AS infinity,
       rc_debezium_timestamp(9223372036825200000, 'ms') AS of_jdbc, rc_debezium_timestamp(-9223372036832400000, 'us') AS minus;
SELECT unit, count(*) FILTER (WHERE rc_debezium_time(us * factor, unit) IS DISTINCT FROM
                                    (timestamp '2000-01-01' + us * interval '1 microsecond')::time) AS wrong
  FROM generate_series(0, 86399999999, 7777777) us, (VALUES ('us', 1), ('ns', 1000)) u (unit, factor) GROUP BY unit ORDER BY unit;
SELECT rc_debezium_time(0, 's') AS midnight, rc_debezium_time(86400000000, 'us') AS the_next, rc_debezium_time(47655123, 'ms') AS ms, rc_debezium_time(47655, 's') AS s;

-- Bytes and bits.
SELECT count(*) AS wrong
  FROM (SELECT decode(repeat(md5(i::text), 8), 'hex') FROM generate_series(1, 64) i) v (b), generate_series(0, 100) n,
       LATERAL (SELECT substring(b, 1, n), replace(encode(substring(b, 1, n), 'base64'), chr(10), '')) s (part, base64)
 WHERE rc_debezium_bytes(base64) IS DISTINCT FROM part OR rc_debezium_bytes(translate(base64, '+/', '-_')) IS DISTINCT FROM part
    OR rc_debezium_bytes(rtrim(base64, '=')) IS DISTINCT FROM part;
SELECT rc_debezium_bits('qg==', 8) AS bits, rc_debezium_bits('qg==', 8)::bit(8) = B'10101010' AS of_bit, rc_debezium_bits('AQg=', 12) AS two_bytes,
       rc_debezium_bits('', 20) AS none, rc_debezium_bits('AQ==', 3) AS short;
SELECT count(*) AS wrong FROM generate_series(0, 65535, 7) i
 WHERE rc_debezium_bits(encode(set_byte(set_byte('\x0000', 0, i & 255), 1, i >> 8), 'base64'), 16)::bit(16) <> i::bit(16);

-- What is refused, and how.
CREATE FUNCTION pg_temp.refused(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  said text;
  detail text;
BEGIN
  EXECUTE 'SELECT ' || call;
  RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
  RETURN SQLSTATE || ' ' || left(said, 60) || ' / ' || detail;
END
$$;
SELECT call, pg_temp.refused(call) FROM (VALUES
  ($$rc_debezium_decimal('9.99', 2)$$), ($$rc_debezium_decimal('', 2)$$), ($$rc_debezium_decimal('A', 2)$$),
  ($$rc_debezium_decimal('AB==', 2)$$), ($$rc_debezium_decimal('A+c= ', 2)$$), ($$rc_debezium_decimal('AQ==', 16384)$$),
  ($$rc_debezium_decimal('AQ==', -131073)$$), ($$rc_debezium_decimal(repeat('AAAA', 30000), 0)$$), ($$rc_debezium_decimal('é"', 0)$$),
  ($$rc_debezium_bytes('a-b')$$), ($$rc_debezium_bytes('=')$$), ($$rc_debezium_bytes('====')$$),
  ($$rc_debezium_bits('EA==', 4)$$), ($$rc_debezium_bits('EA==', 0)$$), ($$rc_debezium_bits('EA==', 2147483647)$$),
  ($$rc_debezium_timestamp(0, 'm')$$), ($$rc_debezium_time(0, '')$$)) v (call);
\set VERBOSITY sqlstate
SELECT rc_debezium_date(-2440589);
SELECT rc_debezium_date(2147483647);
SELECT rc_debezium_timestamp(9223372036854775806, 's');
SELECT rc_debezium_timestamp(-210866803200000001, 'us');
SELECT rc_debezium_decimal(replace(encode(decode('7f' || repeat('ff', 54430), 'hex'), 'base64'), chr(10), ''), 0);
SELECT rc_debezium_time(86400000001, 'us');
SELECT rc_debezium_time(-1, 'us');
\set VERBOSITY terse
SELECT rc_debezium_decimal(NULL, 2) IS NULL AND rc_debezium_timestamp(1, NULL) IS NULL AS strict;

-- No setting changes what is read.
SET datestyle = 'German, DMY';
SET timezone = 'Pacific/Kiritimati';
SET extra_float_digits = -15;
SELECT to_char(rc_debezium_date(19782), 'YYYY-MM-DD') AS date, to_char(rc_debezium_timestamp(1709212455123456, 'us'), 'YYYY-MM-DD HH24:MI:SS.US') AS timestamp;
CREATE ROLE nobody;
SET ROLE nobody;
SELECT rc_debezium_date(1);
RESET ROLE;
DROP ROLE nobody;
RESET datestyle;
RESET timezone;
RESET extra_float_digits;
DROP TABLE sample;
DROP EXTENSION rappel_conso;
