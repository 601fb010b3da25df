// SPDX-License-Identifier: GPL-2.0
#define MIB 64
#include "static_call_ballast.h"
