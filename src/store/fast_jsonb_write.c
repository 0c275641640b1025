/*-------------------------------------------------------------------------
 *
 * fast_jsonb_write.c
 *	  Writes a list of values as jsonb, in its storage format.
 *
 * The format is that of utils/jsonb.h and of convertToJsonb() in
 * utils/adt/jsonb_util.c; fast_check.c compares what is written with
 * jsonb_in(), and without that nothing is.  jsonb_in() sorts pairs of 56 bytes,
 * which took a tenth of all CPU of a jsonb stream; here pointers to keys are
 * sorted.  What is gained in all is in fast_jsonb_read.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/fast_jsonb.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* Keys of an object that are sorted by insertion. */
#define FEW_KEYS		16

/* So much of the estimated size is given back; less would not be. */
#define SPARE_BYTES		(16 * 1024)

/* Types of entries, by kind. */
static const uint32 entry_types[] = {
	JENTRY_ISNULL, JENTRY_ISBOOL_FALSE, JENTRY_ISBOOL_TRUE, JENTRY_ISNUMERIC,
	JENTRY_ISSTRING, JENTRY_ISCONTAINER, JENTRY_ISCONTAINER
};

static void write_value(RcJsonbWriter *writer, const RcJsonNode *node);
static void write_array(RcJsonbWriter *writer, const RcJsonNode *node);
static void write_object(RcJsonbWriter *writer, const RcJsonNode *node);
static JEntry *begin_container(RcJsonbWriter *writer, uint32 header,
							   int nentries);
static void write_entry(JEntry *entries, int i, RcNodeKind kind, uint32 len,
						uint32 *total);
static void write_number(RcJsonbWriter *writer, const RcJsonNode *node);
static void align(RcJsonbWriter *writer);
static int	sort_keys(const RcJsonNode **keys, int n);
static int	compare_keys(const RcJsonNode *a, const RcJsonNode *b);
static int	compare_nodes(const void *a, const void *b);

/* Write what has been read. */
Datum
rc_jsonb_write(RcJsonbWriter *writer, MemoryContext results)
{
	const RcJsonNode *root = writer->nodes;
	Size		size;

	writer->start = writer->to = MemoryContextAllocExtended(results,
															writer->size,
															MCXT_ALLOC_HUGE);
	writer->to += VARHDRSZ;
	if (root->kind == RC_NODE_OBJECT || root->kind == RC_NODE_ARRAY)
		write_value(writer, root);
	else
	{
		JEntry	   *entry = begin_container(writer, 1 | JB_FARRAY | JB_FSCALAR,
											1);
		char	   *from = writer->to;
		uint32		total = 0;

		write_value(writer, root);
		write_entry(entry, 0, root->kind, writer->to - from, &total);
	}
	size = writer->to - writer->start;
	SET_VARSIZE(writer->start, size);
	if (writer->size - size >= SPARE_BYTES)
		writer->start = repalloc_huge(writer->start, size);
	return PointerGetDatum(writer->start);
}

static void
write_value(RcJsonbWriter *writer, const RcJsonNode *node)
{
	switch (node->kind)
	{
		case RC_NODE_STRING:
			memcpy(writer->to, node->text, node->len);
			writer->to += node->len;
			break;
		case RC_NODE_NUMBER:
			write_number(writer, node);
			break;
		case RC_NODE_ARRAY:
			write_array(writer, node);
			break;
		case RC_NODE_OBJECT:
			write_object(writer, node);
			break;
		default:
			break;
	}
}

static void
write_array(RcJsonbWriter *writer, const RcJsonNode *node)
{
	JEntry	   *entries = begin_container(writer, node->len | JB_FARRAY,
										  node->len);
	const RcJsonNode *child = node + 1;
	uint32		total = 0;

	for (int i = 0; i < node->len; i++)
	{
		char	   *from = writer->to;

		write_value(writer, child);
		write_entry(entries, i, child->kind, writer->to - from, &total);
		child = writer->nodes + child->next;
	}
}

/* All keys in their order, then their values. */
static void
write_object(RcJsonbWriter *writer, const RcJsonNode *node)
{
	const RcJsonNode *few[FEW_KEYS];
	const RcJsonNode **keys = few;
	JEntry	   *entries;
	uint32		total = 0;
	int			n = node->len;

	if (n > FEW_KEYS)
		keys = palloc(sizeof(RcJsonNode *) * n);
	for (const RcJsonNode *key = node + 1, **to = keys; to < keys + n; to++)
	{
		*to = key;
		key = writer->nodes + key[1].next;
	}
	n = sort_keys(keys, n);

	entries = begin_container(writer, n | JB_FOBJECT, 2 * n);
	for (int i = 0; i < n; i++)
	{
		write_value(writer, keys[i]);
		write_entry(entries, i, RC_NODE_STRING, keys[i]->len, &total);
	}
	for (int i = 0; i < n; i++)
	{
		char	   *from = writer->to;

		write_value(writer, keys[i] + 1);
		write_entry(entries, n + i, keys[i][1].kind, writer->to - from, &total);
	}
	if (keys != few)
		pfree(keys);
}

/* Write a header, and leave room for its entries. */
static JEntry *
begin_container(RcJsonbWriter *writer, uint32 header, int nentries)
{
	JEntry	   *entries;

	align(writer);
	*(uint32 *) writer->to = header;
	entries = (JEntry *) (writer->to + sizeof(uint32));
	writer->to = (char *) (entries + nentries);
	return entries;
}

/* Every 32nd entry has an offset instead of a length. */
static inline void
write_entry(JEntry *entries, int i, RcNodeKind kind, uint32 len, uint32 *total)
{
	*total += len;
	entries[i] = entry_types[kind] |
		(i % JB_OFFSET_STRIDE == 0 ? (*total | JENTRY_HAS_OFF) : len);
}

/* The padding before a number or container is a part of it. */
static void
write_number(RcJsonbWriter *writer, const RcJsonNode *node)
{
	RcScan		scan = {.at = node->text,.end = node->text + node->len};
	RcScanned	number;
	int			len;

	align(writer);
	(void) rc_scan_number(&scan, &number);
	len = rc_numeric_write(writer->to, &number);
	if (len == 0)
	{
		char	   *text = pnstrdup(node->text, node->len);
		Datum		numeric = DirectFunctionCall3(numeric_in,
												  CStringGetDatum(text),
												  ObjectIdGetDatum(InvalidOid),
												  Int32GetDatum(-1));

		len = VARSIZE_ANY(DatumGetPointer(numeric));
		memcpy(writer->to, DatumGetPointer(numeric), len);
		pfree(DatumGetPointer(numeric));
		pfree(text);
	}
	writer->to += len;
}

static inline void
align(RcJsonbWriter *writer)
{
	while ((writer->to - writer->start) % ALIGNOF_INT != 0)
		*writer->to++ = '\0';
}

/* ---- keys ---- */

/*
 * Sort keys as jsonb does, by length first, and keep the last of equal ones.
 * Returns how many are left.
 */
static int
sort_keys(const RcJsonNode **keys, int n)
{
	int			kept = 0;

	if (n > FEW_KEYS)
		qsort(keys, n, sizeof(RcJsonNode *), compare_nodes);
	else
	{
		for (int i = 1; i < n; i++)
		{
			const RcJsonNode *key = keys[i];
			int			at = i;

			for (; at > 0 && compare_keys(key, keys[at - 1]) < 0; at--)
				keys[at] = keys[at - 1];
			keys[at] = key;
		}
	}
	for (int i = 0; i < n; i++)
	{
		if (i + 1 == n || compare_keys(keys[i], keys[i + 1]) != 0)
			keys[kept++] = keys[i];
	}
	return kept;
}

static inline int
compare_keys(const RcJsonNode *a, const RcJsonNode *b)
{
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->text, b->text, a->len);
}

/* The same for qsort(), which is not stable. */
static int
compare_nodes(const void *a, const void *b)
{
	const RcJsonNode *left = *(const RcJsonNode *const *) a;
	const RcJsonNode *right = *(const RcJsonNode *const *) b;
	int			order = compare_keys(left, right);

	return order != 0 ? order : (left < right ? -1 : 1);
}
