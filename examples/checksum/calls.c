/* The program's static calls, and what they call at first. */
#include "checksum.h"

DEFINE_STATIC_CALL(crc32, crc32_bitwise);
DEFINE_STATIC_CALL_NULL(trace, trace_stderr);
DEFINE_STATIC_CALL_RET0(policy, policy_no_dotfiles);
