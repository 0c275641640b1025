-- What a new database of the image starts with: the extension, and a source
-- that is polled by itself.

CREATE EXTENSION rappel_conso;
UPDATE rappel_conso.source SET poll_interval = '1 hour' WHERE name = 'rappel_conso';
