--
-- Checks of a source's url, dataset, filter and field names, and of the list of
-- brokers: hosts, ports, lengths (V17).
--
\set SHOW_CONTEXT never
CREATE EXTENSION rappel_conso;

-- Stores a source with this column and says how that failed, or that it did not.
CREATE FUNCTION stored(name text, value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  detail text;
  hint text;
BEGIN
  EXECUTE format('INSERT INTO rappel_conso.source (name, dataset%s) VALUES (%L, %L%s)', CASE WHEN name <> 'dataset' THEN ', ' || name END,
                 'tried', CASE WHEN name = 'dataset' THEN value ELSE 'd' END, CASE WHEN name <> 'dataset' THEN ', ' || quote_literal(value) END);
  DELETE FROM rappel_conso.source s WHERE s.name = 'tried';
  RETURN 'stored';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN concat_ws('; ', sqlstate, NULLIF(detail, ''), CASE WHEN hint = '' THEN 'no hint' END);
END
$$;

-- V17: hosts and ports
SELECT host, stored('url', 'https://' || host || '/api') FROM unnest(ARRAY[
  'example.org', 'example.org.', 'EXAMPLE.org:443', 'localhost:1', 'a_b:65535', 'a--b.c-d', '1a.2b', repeat('a', 63) || '.org',
  repeat(repeat('a', 62) || '.', 4), '127.0.0.1', '127.0.0.1.', '2130706433', '0x7f.1', '10.1', '3com.example',
  '[::1]', '[::1]:8080', '[2001:db8::1.2.3.4]', '[fe80::1]', 'localhost:00080', 'xn--rappel-5ya.example']) WITH ORDINALITY h (host, n) ORDER BY n;
SELECT CASE WHEN length(host) > 70 THEN left(host, 20) || '..' ELSE host END AS host,
       stored('url', 'https://' || host || '/api') LIKE '22023; "' || host || '" %' AS refused
  FROM unnest(ARRAY[
  '-', '.', '..', 'a..b', '.a', 'a..', '-a', 'a-', 'a.-b', 'a-.b', '_-', repeat('a', 64), repeat(repeat('a', 62) || '.', 4) || 'aa',
  '256.0.0.1', '1.2.3.4.5', '1.2.3.256', 'a.1', '4294967296', '0x', 'a.0xff', '[::1', '[::1]]', '[:::]', '[.]', '[1]', '[::1:]', '[g::]',
  '[127.0.0.1]', '[' || repeat('1', 100) || ']', '[::1]:', '[::1]:0', '[::1]a', '::1', 'a:0', 'a:65536', 'a:99999', 'a:100000', 'a:', 'a:1:2', ':1', 'a:+1', 'a:-1'])
  WITH ORDINALITY h (host, n) ORDER BY n;

-- lengths, and names that no query can hold
SELECT name, length(value) AS length, stored(name, value) FROM (VALUES
  (1, 'url', 'https://example.org/' || repeat('a', 1980)), (2, 'url', 'https://example.org/' || repeat('a', 1981)),
  (3, 'dataset', repeat('d', 255)), (4, 'dataset', repeat('d', 256)), (5, 'dataset', ''), (6, 'dataset', repeat('d', 10000000)),
  (7, 'filter', repeat('f', 16000)), (8, 'filter', repeat('f', 16001)), (9, 'filter', repeat(' ', 5333)), (10, 'filter', repeat('=', 5334)),
  (11, 'filter', repeat('f', 10000000)), (12, 'filter', ''),
  (13, 'key_field', repeat('k', 255)), (14, 'key_field', repeat('k', 256)), (15, 'key_field', ''), (16, 'key_field', 'a`b'), (17, 'key_field', E'a\nb'),
  (18, 'key_field', U&'\00e9t\00e9 \20ac'), (19, 'key_field', 'a b"c''d'), (20, 'cursor_field', repeat('c', 256)), (21, 'cursor_field', '`'),
  (22, 'cursor_field', E'\x7f'), (23, 'cursor_field', ''), (24, 'cursor_field', 'order')) v (n, name, value) ORDER BY n;
INSERT INTO rappel_conso.source (name, dataset) VALUES ('menu', 'd');
UPDATE rappel_conso.source SET filter = repeat('=', 10000) WHERE name = 'menu';
UPDATE rappel_conso.source SET key_field = 'a`b' WHERE name = 'menu';
UPDATE rappel_conso.source SET cursor_field = repeat('c', 300) WHERE name = 'menu';
UPDATE rappel_conso.source SET dataset = 'a b' WHERE name = 'menu';
UPDATE rappel_conso.source SET url = 'http://a..b/' WHERE name = 'menu';

-- the list of brokers, where it is set
ALTER SYSTEM SET rappel_conso.kafka_brokers = 'localhost:9092, 10.0.0.1,SSL://kafka_1.example.:9093,,[::1]:9092,';
ALTER SYSTEM SET rappel_conso.kafka_brokers = '';
ALTER SYSTEM RESET rappel_conso.kafka_brokers;
ALTER SYSTEM SET rappel_conso.kafka_brokers = 'localhost:9092,localhost:65536';
ALTER SYSTEM SET rappel_conso.kafka_brokers = 'localhost:0';
ALTER SYSTEM SET rappel_conso.kafka_brokers = 'a..b:9092';
ALTER SYSTEM SET rappel_conso.kafka_brokers = 'kafka 1:9092';
ALTER SYSTEM SET rappel_conso.kafka_brokers = 'kafka1:9092;kafka2:9092';
ALTER SYSTEM SET rappel_conso.kafka_brokers = 'SSL://';
ALTER SYSTEM SET rappel_conso.kafka_brokers = '::1';
ALTER SYSTEM SET rappel_conso.kafka_brokers = ' , ';

DROP EXTENSION rappel_conso;
DROP FUNCTION stored;
