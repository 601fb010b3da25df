#ifndef WORK_H
#define WORK_H

#include "static_call.h"

/* Both return x + 1. The linker puts far_work at an address 256 MiB higher. */
int near_work(int x);
int far_work(int x);

DECLARE_STATIC_CALL(work, far_work);

#endif
