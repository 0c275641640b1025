/*-------------------------------------------------------------------------
 *
 * dead_letter_overtaken.c
 *	  Resolves dead letters of a stream that folds changes, when a later change
 *	  with the same key has been applied.
 *
 * Applying such a dead letter after that would bring back what the row was.  It
 * must be done in the transaction that applies the later change.
 *
 *-------------------------------------------------------------------------
 */
#include "store/dead_letter.h"

#include "common/hashfn.h"
#include "port/pg_bitutils.h"

#include "store/query.h"

/* Dead letters that are looked at for a batch: the newest ones. */
#define MOST_LETTERS	10000

/* Records by their keys. */
typedef struct Places
{
	const RcRecord *records;
	int			n;
	int		   *first;			/* of a hash; -1: none */
	int		   *next;
	uint32		mask;
	bool	   *dead;			/* the record is a dead letter itself */
} Places;

static void add_records(Places *places, const RcRecord *records, int n);
static uint32 hash_of(const RcRecord *record);
static bool same_source(const RcRecord *a, const RcRecord *b);
static void note_dead(Places *places, const RcRecord *letter);
static bool overtaken(const Places *places, const RcRecord *letter);

/*
 * Records of a batch have been applied, but for those that became dead letters.
 * "retried" are the dead letters that they are, or NULL.
 */
void
rc_dead_letter_overtaken(const RcStream *stream, const RcRecord *records,
						 int n, const RcDeadLetter *retried)
{
	Places		places = {0};
	RcDeadLetter *letters;
	int64	   *ids;
	int			nletters;
	int			nids = 0;

	letters = rc_dead_letters_of_keys(stream, MOST_LETTERS, &nletters);
	if (nletters == 0)
		return;
	add_records(&places, records, n);
	for (int i = 0; i < nletters && retried == NULL; i++)
		note_dead(&places, &letters[i].record);
	for (int i = 0; i < n && retried != NULL; i++)
		places.dead[i] = retried[i].still_dead;
	ids = palloc(nletters * sizeof(int64));
	for (int i = 0; i < nletters; i++)
	{
		if (overtaken(&places, &letters[i].record))
			ids[nids++] = letters[i].id;
	}
	if (nids > 0)
		rc_dead_letter_resolve(ids, nids);
}

static void
add_records(Places *places, const RcRecord *records, int n)
{
	places->records = records;
	places->n = n;
	places->mask = pg_nextpower2_32(Max(n, 8) * 2) - 1;
	places->first = palloc((places->mask + 1) * sizeof(int));
	places->next = palloc(Max(n, 1) * sizeof(int));
	places->dead = palloc0(Max(n, 1) * sizeof(bool));
	memset(places->first, -1, (places->mask + 1) * sizeof(int));
	for (int i = 0; i < n; i++)
	{
		uint32		bucket;

		if (records[i].key_len < 0 || records[i].offset < 0)
			continue;
		bucket = hash_of(&records[i]) & places->mask;
		places->next[i] = places->first[bucket];
		places->first[bucket] = i;
	}
}

static uint32
hash_of(const RcRecord *record)
{
	return hash_bytes((const unsigned char *) record->key, record->key_len);
}

/* Whether two records, which have keys, are of one key and partition. */
static bool
same_source(const RcRecord *a, const RcRecord *b)
{
	return a->partition == b->partition && a->key_len == b->key_len &&
		memcmp(a->key, b->key, a->key_len) == 0 &&
		strcmp(a->topic, b->topic) == 0;
}

static void
note_dead(Places *places, const RcRecord *letter)
{
	for (int i = places->first[hash_of(letter) & places->mask]; i >= 0;
		 i = places->next[i])
	{
		if (places->records[i].offset == letter->offset &&
			same_source(&places->records[i], letter))
			places->dead[i] = true;
	}
}

static bool
overtaken(const Places *places, const RcRecord *letter)
{
	for (int i = places->first[hash_of(letter) & places->mask]; i >= 0;
		 i = places->next[i])
	{
		if (!places->dead[i] && places->records[i].offset > letter->offset &&
			same_source(&places->records[i], letter))
			return true;
	}
	return false;
}
