/*-------------------------------------------------------------------------
 *
 * explore.h
 *	  The reader of datasets of Opendatasoft Explore APIs, v2.1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_EXPLORE_H
#define RC_EXPLORE_H

#include "source/reader.h"

extern const RcReaderClass rc_explore_class;

#endif							/* RC_EXPLORE_H */
