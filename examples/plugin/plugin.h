/* What the host and its plugins agree on. */
#ifndef PLUGIN_H
#define PLUGIN_H

/* A plugin's function; the host looks it up as plugin_work. */
typedef unsigned work_function(unsigned);

#endif
