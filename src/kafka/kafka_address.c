/*-------------------------------------------------------------------------
 *
 * kafka_address.c
 *	  Brokers that cannot be reached at the address that they advertise.
 *
 * A client finds the brokers through rappel_conso.kafka_brokers, and then
 * connects to the addresses that they advertise.  If those are wrong, or not
 * meant for this network, brokers answer, and yet nothing can be read or
 * published: no request that fails says why.  So the error of such a
 * connection is kept, for as long as librdkafka may not repeat it.
 *
 * Since an address is found by searching in texts, nothing here may decide
 * what the extension does.  rc_address_failed() is called by callbacks and
 * must not call PostgreSQL (see kafka_log.c).
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

/* librdkafka repeats an equal error of a broker after 30 s. */
#define KEEP_MS			60000

#define DEFAULT_PORT	":9092"

/* What librdkafka calls its connection to the coordinator of the group. */
#define COORDINATOR		"GroupCoordinator: "

static const char *const address_error = gettext_noop("a broker cannot be reached at the address that it advertises");
static const char *const address_hint =
"If the broker runs, let this server resolve and reach that address, or correct \"advertised.listeners\" of the broker: "
"\"rappel_conso.kafka_brokers\" is used only to find the addresses of all brokers.";
static const char *const silence_hint =
"A broker has answered, but perhaps not at the address that it advertises: check that this server resolves and reaches "
"what the brokers have as \"advertised.listeners\".";

static const char *find_address(const char *text, size_t *len);
static bool is_kept(RcKafka *kafka);
static bool is_bootstrap(const char *address, size_t len);

/*
 * If the text of an error says that no connection to an advertised address
 * could be made, store it in last_error, with the cause in front, and keep it.
 *
 * Errors of the connections to the addresses of rappel_conso.kafka_brokers are
 * none, whether or not a broker advertises the same one.
 */
bool
rc_address_failed(RcKafka *kafka, const char *text)
{
	size_t		len;
	const char *address = find_address(text, &len);

	if (address == NULL || strstr(text, "in state CONNECT") == NULL ||
		is_bootstrap(address, len))
		return false;

	snprintf(kafka->address_error, sizeof(kafka->address_error), "%s: %s",
			 address_error, text);
	rc_mask_invalid(kafka->address_error);
	INSTR_TIME_SET_CURRENT(kafka->address_failed);
	rc_address_recall(kafka);
	return true;
}

/*
 * The address in the text of an error, if it is one that a broker advertises:
 * in "host:port/id: ..", where the id of another one is no number, and in
 * "GroupCoordinator: host:port: ..".  "protocol://" can precede it.  NULL
 * if there is none.
 */
static const char *
find_address(const char *text, size_t *len)
{
	const char *coordinator = strstr(text, COORDINATOR);
	const char *address = coordinator != NULL ?
		coordinator + strlen(COORDINATOR) : text;
	const char *scheme = strstr(address, "://");
	size_t		digits;

	if (scheme != NULL)
		address = scheme + 3;
	*len = strcspn(address, "/ ");
	if (address[*len] == '/')
	{
		digits = strspn(address + *len + 1, "0123456789");
		return digits > 0 && address[*len + 1 + digits] == ':' ? address : NULL;
	}
	if (coordinator == NULL || *len == 0 || address[--*len] != ':')
		return NULL;
	return address;
}

/*
 * Make the error that is kept, if there is one, that of the client: for after
 * another broker, or the same one at another address, has answered.
 */
void
rc_address_recall(RcKafka *kafka)
{
	if (likely(!is_kept(kafka)))
		return;
	strlcpy(kafka->last_error, kafka->address_error,
			sizeof(kafka->last_error));
	kafka->last_hint = address_hint;
}

static bool
is_kept(RcKafka *kafka)
{
	instr_time	elapsed;

	if (kafka->address_error[0] == '\0')
		return false;
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, kafka->address_failed);
	if (INSTR_TIME_GET_MILLISEC(elapsed) >= KEEP_MS)
		kafka->address_error[0] = '\0';
	return kafka->address_error[0] != '\0';
}

/*
 * The error that is kept; NULL if there is none.
 */
const char *
rc_kafka_address_error(RcKafka *kafka)
{
	rd_kafka_poll(kafka->rk, 0);
	return is_kept(kafka) ? kafka->address_error : NULL;
}

/*
 * The hint for requests that were not answered, without an error of a
 * connection; NULL if no broker has answered at all.
 */
const char *
rc_address_hint(RcKafka *kafka)
{
	return kafka->was_up ? silence_hint : NULL;
}

/*
 * Is an address one of rappel_conso.kafka_brokers?
 */
static bool
is_bootstrap(const char *address, size_t len)
{
	const char *at = rc_kafka_brokers;
	size_t		port = strlen(DEFAULT_PORT);

	while (at != NULL && *at != '\0')
	{
		size_t		size;

		at += strspn(at, ", ");
		size = strcspn(at, ", ");
		if ((size == len && pg_strncasecmp(at, address, len) == 0) ||
			(size + port == len && pg_strncasecmp(at, address, size) == 0 &&
			 strncmp(address + size, DEFAULT_PORT, port) == 0))
			return true;
		at += size;
	}
	return false;
}
