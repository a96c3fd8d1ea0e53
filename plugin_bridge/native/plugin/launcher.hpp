/* Starts `audiosep serve` where none runs; the file that tells which program that is. */
#ifndef AUDIOSEP_LAUNCHER_HPP
#define AUDIOSEP_LAUNCHER_HPP

#include <string>

namespace audiosep {

enum class Launch { Started, Waiting, Unknown, Failed };

/* A program is tried at most once every ten seconds in a process, whatever the number of instances;
 * of two servers that start together the second gives way by itself. May wait, some milliseconds:
 * not for the host's threads.
 * Waiting: somebody listens, however long it takes to answer. Unknown: nobody does and no program is
 * told, so `audiosep plugin install` was never run. */
Launch launch_server();

/* The file: one line, the program's path. */
std::string launcher_file();

} // namespace audiosep

#endif
