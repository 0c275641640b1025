/*-------------------------------------------------------------------------
 *
 * gunzip.h
 *	  Decompression of an HTTP response's body.
 *
 * No file outside src/source may include it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_GUNZIP_H
#define RC_GUNZIP_H

typedef struct RcGunzip RcGunzip;

extern RcGunzip *rc_gunzip_open(void);
extern void rc_gunzip_close(RcGunzip *gunzip);
extern bool rc_gunzip_put(RcGunzip *gunzip, const char *data, size_t len);
extern bool rc_gunzip_pending(const RcGunzip *gunzip);
extern bool rc_gunzip_get(RcGunzip *gunzip, char *to, size_t room,
						  size_t *len);
extern bool rc_gunzip_whole(const RcGunzip *gunzip);

#endif							/* RC_GUNZIP_H */
