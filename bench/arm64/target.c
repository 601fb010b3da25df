// SPDX-License-Identifier: MIT
/* The function that is called: it returns. TARGET is its name. */
void TARGET(void);

void TARGET(void)
{
}
