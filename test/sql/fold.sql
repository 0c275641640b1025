--
-- rc_fold: text to ASCII, as the recalls' texts are folded.
--
CREATE EXTENSION rappel_conso;

SELECT t AS text, rc_fold(t) AS folded FROM (VALUES
  (1, 'déjà vu, où ça ? À Noël'), (2, 'Œuf, bœuf, ÆÇÉÈÊËÎÏÔÙÛÜŸ æ'), (3, '4 °C – 5 € — 10 ‰'), (4, 'l’«été»“…”‘'),
  (5, 'ß Ł ł ø Ð đ ı Ž š ñ ã'), (6, 'ﬁ ﬂ ½ ¼ m² m³ µg № ™ ® ©'), (7, 'Ελλάδα Москва Київ'), (8, 'ａｂｃ！'), (9, '≤ ≥ × ÷ ±'))
  AS s (at, t) ORDER BY at;

-- What cannot be seen here: the code points of what goes in and what comes out.
SELECT name, rc_fold('a' || chr(code) || 'b') = 'a' || folded || 'b' AS as_it_should_be
  FROM (VALUES ('no-break space', 160, ' '), ('narrow no-break space', 8239, ' '), ('thin space', 8201, ' '),
               ('zero width space', 8203, ' '), ('soft hyphen', 173, ''), ('byte order mark', 65279, ''),
               ('combining acute accent', 769, ''), ('a fire', 128293, ''), ('private use', 57344, ''),
               ('hyphen', 8208, '-'), ('line separator', 8232, E'\n'), ('variation selector', 65039, ''), ('a tag', 917601, ''),
               ('the last private one', 1114109, ''), ('zero width joiner', 8205, '')) s (name, code, folded);

-- V18: text in scripts that are not folded stays, with its marks, digits and
-- punctuation, also where it is mixed with text that is folded.
SELECT t AS text, rc_fold(t) = t AS kept FROM (VALUES
  (1, 'مرحبا، ١٢٣ كِتَاب؟'), (2, '食品安全 有限公司'), (3, 'ひらがなカタカナ が'), (4, 'שָׁלוֹם'), (5, 'नमस्ते। १२'), (6, 'ภาษาไทย ฿'),
  (7, '한국어'), (8, 'Հայերեն ქართული'), (9, '㈱ ㍿ ℵ'), (10, '𠀀𪚥𰀀'), (11, 'አማርኛ ᏣᎳᎩ'))
  AS s (at, t) ORDER BY at;
SELECT rc_fold('Thé 茶 à 3 € – «شاي» 🔥') AS mixed;

-- ASCII stays as it is, control characters too; what comes out of any
-- character there is is ASCII or the character; and folding again changes
-- nothing.
SELECT count(*) AS ascii_kept FROM generate_series(1, 127) i WHERE rc_fold(chr(i)) = chr(i);
WITH one AS MATERIALIZED (
  SELECT i, chr(i) AS c, rc_fold(chr(i)) AS f FROM generate_series(128, 1114111) i WHERE i NOT BETWEEN 55296 AND 57343
), block AS (
  SELECT count(*) AS n, string_agg(c, '' ORDER BY i) AS c, string_agg(f, '' ORDER BY i) AS f,
         count(*) FILTER (WHERE f <> c AND octet_length(f) <> length(f)) AS neither
    FROM one GROUP BY i / 4096
)
SELECT sum(n) AS characters, sum(neither) AS neither, count(*) FILTER (WHERE rc_fold(c) <> f) AS not_by_character,
       count(*) FILTER (WHERE rc_fold(f) <> f) AS not_stable FROM block;

-- Nothing, and much.
SELECT rc_fold(NULL) IS NULL AS strict, rc_fold('') = '' AS empty;
SELECT rc_fold(repeat('é', 1000000)) = repeat('e', 1000000) AS long_one, length(rc_fold(repeat('€', 300000))) AS grown;
SELECT rc_fold(string_agg(t, '')) = string_agg(rc_fold(t), '') AS piece_by_piece
  FROM (VALUES ('éa'), ('œ'), (''), ('–b')) s (t);

-- Immutable: it can be indexed, and the index is used.
SELECT provolatile, proisstrict, proparallel, proleakproof, prosecdef FROM pg_proc WHERE oid = 'rc_fold(text)'::regprocedure;
CREATE TABLE brand (id int PRIMARY KEY, name text NOT NULL, folded text GENERATED ALWAYS AS (lower(rc_fold(name))) STORED);
INSERT INTO brand (id, name) SELECT i, 'marque n° ' || i FROM generate_series(1, 500) i;
INSERT INTO brand (id, name) VALUES (501, 'Cœur Léger'), (502, 'CŒUR LÉGER'), (503, 'Coeur leger');
CREATE INDEX brand_fold_idx ON brand (lower(rc_fold(name)));
ANALYZE brand;
EXPLAIN (COSTS OFF) SELECT id FROM brand WHERE lower(rc_fold(name)) = lower(rc_fold('cœur léger'));
SELECT id FROM brand WHERE lower(rc_fold(name)) = lower(rc_fold('cœur léger')) ORDER BY id;
SELECT folded FROM brand WHERE id = 502;

DROP TABLE brand;
DROP EXTENSION rappel_conso;
