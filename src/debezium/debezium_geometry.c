/*-------------------------------------------------------------------------
 *
 * debezium_geometry.c
 *	  Geometries: well-known binary with the number of its reference system,
 *	  for PostGIS or for PostgreSQL's own geometric types.
 *
 * Only what PostgreSQL's types need of a geometry is read; PostGIS checks the
 * rest of what it is given.  Coordinates must stay what they are to the bit.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_internal.h"

#include "port/pg_bswap.h"

#define WKB_POINT		1
#define WKB_LINE		2
#define WKB_POLYGON		3

/* Bits of the type in EWKB: there are two more dimensions, and the srid. */
#define WKB_Z			0x80000000
#define WKB_M			0x40000000
#define WKB_SRID		0x20000000

#define NO_WKB			"has a wkb that is none"
#define WRONG_SHAPE		"is a geometry of another type than the column"

/* Bytes to read from, and those that describe them. */
typedef struct Wkb
{
	const uint8 *at;
	const uint8 *end;
	bool		big_endian;
	uint32		type;			/* as it is */
	int			shape;			/* WKB_*; 0: another */
	int			dimensions;
} Wkb;

static const char *append_members(const RcDebeziumJson *value,
								  const char *format,
								  const char *const *names, StringInfo out);
static bool append_coordinate(const RcDebeziumJson *number, StringInfo out);
static const char *append_ewkb(const RcDebeziumJson *value, StringInfo out);
static const char *append_ewkb_bytes(uint8 *bytes, int nbytes, bool has_srid,
									 int64 srid, StringInfo out);
static void append_uint32(uint32 number, bool big_endian, StringInfo out);
static const char *append_shape(RcDebeziumShape shape, Wkb *wkb, bool closed,
								StringInfo out);
static const char *append_box(Wkb *wkb, StringInfo out);
static const char *read_wkb(const RcDebeziumJson *value, uint8 **bytes,
							int *nbytes);
static bool begin_wkb(Wkb *wkb, const uint8 *bytes, int nbytes);
static bool read_uint32(Wkb *wkb, uint32 *number);
static bool count_points(Wkb *wkb, uint32 *npoints);
static bool ends_as_begins(const Wkb *wkb, uint32 npoints);
static void read_point(Wkb *wkb, double *x, double *y);
static void append_point(Wkb *wkb, StringInfo out);

const char *
rc_debezium_append_geometry(const RcDebeziumType *type, const RcDebeziumJson *value,
							StringInfo out)
{
	static const char *const of_point[] = {"x", "y", NULL};
	static const char *const of_line[] = {"a", "b", "c", NULL};
	static const char *const of_circle[] = {"x", "y", "radius", NULL};
	RcDebeziumJson member;
	RcDebeziumJson closed;
	Wkb			wkb;
	uint8	   *bytes;
	int			nbytes;
	const char *wrong;

	if (value->kind != JSON_TOKEN_OBJECT_START)
		return RC_NO_OBJECT;
	if (type->shape == RC_DEBEZIUM_EWKB)
		return append_ewkb(value, out);
	if (type->shape == RC_DEBEZIUM_CIRCLE)
		return append_members(value, "<(%,%),%>", of_circle, out);
	if (type->shape == RC_DEBEZIUM_LINE &&
		rc_debezium_member(value, "a", &member))
		return append_members(value, "{%,%,%}", of_line, out);
	if (type->shape == RC_DEBEZIUM_POINT &&
		rc_debezium_member(value, "x", &member))
		return append_members(value, "(%,%)", of_point, out);

	wrong = read_wkb(value, &bytes, &nbytes);
	if (wrong != NULL)
		return wrong;
	if (!begin_wkb(&wkb, bytes, nbytes))
		return NO_WKB;
	wrong = append_shape(type->shape, &wkb,
						 rc_debezium_member(value, "extensions", &member) &&
						 rc_debezium_member(&member, "closed", &closed) &&
						 rc_debezium_equals(&closed, "true"), out);
	pfree(bytes);
	return wrong;
}

/* Append a text with the members of these names in place of its %. */
static const char *
append_members(const RcDebeziumJson *value, const char *format,
			   const char *const *names, StringInfo out)
{
	RcDebeziumJson member;

	for (; *format != '\0'; format++)
	{
		if (*format != '%')
			appendStringInfoChar(out, *format);
		else if (!rc_debezium_member(value, *names++, &member) ||
				 !append_coordinate(&member, out))
			return "lacks a coordinate";
	}
	return NULL;
}

/* Numbers are kept as they are; those that JSON does not have are texts. */
static bool
append_coordinate(const RcDebeziumJson *number, StringInfo out)
{
	if (number->kind != JSON_TOKEN_NUMBER &&
		!(number->kind == JSON_TOKEN_STRING &&
		  (rc_debezium_equals(number, "NaN") ||
		   rc_debezium_equals(number, "Infinity") ||
		   rc_debezium_equals(number, "-Infinity"))))
		return false;
	appendBinaryStringInfo(out, number->text, number->len);
	return true;
}

/* For PostGIS: the bytes as they are, but with the srid in their head. */
static const char *
append_ewkb(const RcDebeziumJson *value, StringInfo out)
{
	RcDebeziumJson member;
	int64		srid = 0;
	bool		has_srid = rc_debezium_member(value, "srid", &member);
	uint8	   *bytes;
	int			nbytes;
	const char *wrong;

	if (has_srid && (!rc_debezium_integer(&member, &srid) || srid < 0 ||
					 srid > PG_INT32_MAX))
		return "has a srid that is none";
	wrong = read_wkb(value, &bytes, &nbytes);
	if (wrong != NULL)
		return wrong;
	wrong = append_ewkb_bytes(bytes, nbytes, has_srid, srid, out);
	pfree(bytes);
	return wrong;
}

static const char *
append_ewkb_bytes(uint8 *bytes, int nbytes, bool has_srid, int64 srid,
				  StringInfo out)
{
	Wkb			wkb;
	StringInfoData head;

	if (!begin_wkb(&wkb, bytes, nbytes))
		return NO_WKB;
	if (has_srid)
	{
		initStringInfo(&head);
		appendStringInfoChar(&head, wkb.big_endian ? 0 : 1);
		append_uint32(srid != 0 ? wkb.type | WKB_SRID :
					  wkb.type & ~WKB_SRID, wkb.big_endian, &head);
		if (srid != 0)
			append_uint32(srid, wkb.big_endian, &head);
		rc_debezium_hex((uint8 *) head.data, head.len, out);
		pfree(head.data);
		rc_debezium_hex(wkb.at, wkb.end - wkb.at, out);
	}
	else
		rc_debezium_hex(bytes, nbytes, out);
	return NULL;
}

static void
append_uint32(uint32 number, bool big_endian, StringInfo out)
{
	uint32		ordered = big_endian ? pg_hton32(number) :
		pg_bswap32(pg_hton32(number));

	appendBinaryStringInfo(out, (const char *) &ordered, sizeof(ordered));
}

/*
 * A path is a line that may be closed, which WKB cannot say; a polygon's last
 * point is its first one again.
 */
static const char *
append_shape(RcDebeziumShape shape, Wkb *wkb, bool closed, StringInfo out)
{
	uint32		npoints = 1;
	uint32		rings;

	if (shape == RC_DEBEZIUM_BOX)
		return append_box(wkb, out);
	if (shape == RC_DEBEZIUM_POINT ? wkb->shape != WKB_POINT :
		shape == RC_DEBEZIUM_POLYGON ? wkb->shape != WKB_POLYGON :
		wkb->shape != WKB_LINE &&
		(shape != RC_DEBEZIUM_PATH || wkb->shape != WKB_POLYGON))
		return WRONG_SHAPE;
	if (wkb->shape == WKB_POLYGON &&
		(!read_uint32(wkb, &rings) || rings != 1))
		return "is a polygon with holes, or without a ring";
	if (wkb->shape == WKB_POINT ?
		wkb->end - wkb->at < wkb->dimensions * sizeof(double) :
		!count_points(wkb, &npoints))
		return NO_WKB;
	if (wkb->shape == WKB_POLYGON && ends_as_begins(wkb, npoints))
		npoints--;
	if (npoints == 0 || (npoints != 2 && (shape == RC_DEBEZIUM_LSEG ||
										  shape == RC_DEBEZIUM_LINE)))
		return WRONG_SHAPE;

	closed = closed || wkb->shape == WKB_POLYGON;
	if (shape != RC_DEBEZIUM_POINT)
		appendStringInfoChar(out, closed ? '(' : '[');
	for (uint32 i = 0; i < npoints; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		append_point(wkb, out);
	}
	if (shape != RC_DEBEZIUM_POINT)
		appendStringInfoChar(out, closed ? ')' : ']');
	return NULL;
}

/* Two opposite corners of a ring of four. */
static const char *
append_box(Wkb *wkb, StringInfo out)
{
	uint32		rings;
	uint32		npoints;
	double		x;
	double		y;

	if (wkb->shape != WKB_POLYGON)
		return WRONG_SHAPE;
	if (!read_uint32(wkb, &rings) || !count_points(wkb, &npoints))
		return NO_WKB;
	if (rings != 1 || npoints != 5)
		return WRONG_SHAPE;
	append_point(wkb, out);
	read_point(wkb, &x, &y);
	appendStringInfoChar(out, ',');
	append_point(wkb, out);
	return NULL;
}

static const char *
read_wkb(const RcDebeziumJson *value, uint8 **bytes, int *nbytes)
{
	RcDebeziumJson member;

	if (!rc_debezium_member(value, "wkb", &member))
		return "has no wkb";
	if (member.kind != JSON_TOKEN_STRING)
		return NO_WKB;
	*bytes = rc_debezium_base64(member.text, member.len, nbytes);
	return *bytes != NULL ? NULL : NO_WKB;
}

/* Read the head: the order of bytes, the type, and the srid if there is one. */
static bool
begin_wkb(Wkb *wkb, const uint8 *bytes, int nbytes)
{
	uint32		plain;
	uint32		srid;

	wkb->at = bytes;
	wkb->end = bytes + nbytes;
	if (nbytes == 0 || *wkb->at > 1)
		return false;
	wkb->big_endian = *wkb->at++ == 0;
	if (!read_uint32(wkb, &wkb->type) ||
		((wkb->type & WKB_SRID) && !read_uint32(wkb, &srid)))
		return false;

	/* ISO adds 1000 for Z, 2000 for M, 3000 for both */
	plain = wkb->type & ~(WKB_Z | WKB_M | WKB_SRID);
	wkb->shape = plain < 4000 && plain % 1000 <= WKB_POLYGON ?
		plain % 1000 : 0;
	wkb->dimensions = 2 +
		((wkb->type & WKB_Z) != 0 || plain / 1000 % 2 == 1) +
		((wkb->type & WKB_M) != 0 || plain / 1000 >= 2);
	return true;
}

static bool
read_uint32(Wkb *wkb, uint32 *number)
{
	if (wkb->end - wkb->at < sizeof(*number))
		return false;
	memcpy(number, wkb->at, sizeof(*number));
	wkb->at += sizeof(*number);
	*number = pg_ntoh32(*number);
	if (!wkb->big_endian)
		*number = pg_bswap32(*number);
	return true;
}

/* Read a number of points, which all must be there. */
static bool
count_points(Wkb *wkb, uint32 *npoints)
{
	return read_uint32(wkb, npoints) &&
		*npoints <= (wkb->end - wkb->at) / (wkb->dimensions * sizeof(double));
}

/* Whether the last of the points is the first one, and another. */
static bool
ends_as_begins(const Wkb *wkb, uint32 npoints)
{
	size_t		size = wkb->dimensions * sizeof(double);

	return npoints > 1 &&
		memcmp(wkb->at, wkb->at + (npoints - 1) * size, size) == 0;
}

static void
read_point(Wkb *wkb, double *x, double *y)
{
	uint64		bits[2];

	memcpy(bits, wkb->at, sizeof(bits));
	wkb->at += wkb->dimensions * sizeof(double);
	for (int i = 0; i < lengthof(bits); i++)
	{
		bits[i] = pg_ntoh64(bits[i]);
		if (!wkb->big_endian)
			bits[i] = pg_bswap64(bits[i]);
	}
	memcpy(x, &bits[0], sizeof(*x));
	memcpy(y, &bits[1], sizeof(*y));
}

/* 17 digits are enough for any double precision number. */
static void
append_point(Wkb *wkb, StringInfo out)
{
	double		x;
	double		y;

	read_point(wkb, &x, &y);
	appendStringInfo(out, "(%.17g,%.17g)", x, y);
}
