#include "launcher.hpp"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <mutex>

#ifdef _WIN32
#include "../audiosep_client.h"

#include <winsock2.h>

#include <windows.h>
#else
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
#endif

namespace audiosep {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kBetweenTries(10);
/* A look is a connection, which one that hangs does not take out of its queue. */
constexpr std::chrono::seconds kBetweenLooks(1);

std::string variable(const char *name) {
    const char *value = std::getenv(name);
    return value ? value : "";
}

std::string program() {
    const std::string told = variable("AUDIOSEP_PROGRAM");
    if (!told.empty()) return told;
    std::ifstream file(launcher_file());
    std::string line;
    std::getline(file, line);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    return line;
}

#ifdef _WIN32
int port() {
    const std::string told = variable("AUDIOSEP_ADDRESS");
    return told.compare(0, 4, "tcp:") ? AUDIOSEP_PORT : std::atoi(told.c_str() + 4);
}

/* A server that is there but slow, or hung, is not started again. */
bool somebody_listens() {
    WSADATA data;
    if (WSAStartup(MAKEWORD(2, 2), &data)) return false;
    const SOCKET link = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(u_short(port()));
    const bool there = link != INVALID_SOCKET &&
                       !connect(link, reinterpret_cast<sockaddr *>(&to), sizeof to);
    if (link != INVALID_SOCKET) closesocket(link);
    WSACleanup();
    return there;
}

/* Without a window, and none of the host's: it ends by itself when no instance has been there for
 * ten minutes. */
bool start(const std::string &path) {
    std::string line =
        "\"" + path + "\" serve --idle-exit 600 --tcp " + std::to_string(port());
    STARTUPINFOA how = {};
    PROCESS_INFORMATION made = {};
    how.cb = sizeof how;
    if (!CreateProcessA(path.c_str(), &line[0], nullptr, nullptr, FALSE,
                        DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP, nullptr, nullptr, &how, &made))
        return false;
    CloseHandle(made.hThread);
    CloseHandle(made.hProcess);
    return true;
}
#else
/* A server that is there but slow, or hung, is not started again. */
bool somebody_listens() {
    const std::string told = variable("AUDIOSEP_ADDRESS"), runtime = variable("XDG_RUNTIME_DIR");
    const bool tcp = told.compare(0, 4, "tcp:") == 0;
    const int link = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
    if (link < 0) return false;
    int failed;
    fcntl(link, F_SETFL, O_NONBLOCK);
    if (tcp) {
        sockaddr_in to = {};
        to.sin_family = AF_INET;
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        to.sin_port = htons(uint16_t(std::atoi(told.c_str() + 4)));
        failed = connect(link, reinterpret_cast<sockaddr *>(&to), sizeof to);
    } else {
        const std::string folder =
            runtime.empty() ? "/tmp/audiosep-" + std::to_string(getuid()) : runtime + "/audiosep";
        sockaddr_un to = {};
        to.sun_family = AF_UNIX;
        std::strncpy(to.sun_path, (told.empty() ? folder + "/bridge.sock" : told).c_str(),
                     sizeof to.sun_path - 1);
        failed = connect(link, reinterpret_cast<sockaddr *>(&to), sizeof to);
    }
    /* A full queue, or a loopback that takes its time, is somebody too. */
    const bool there = !failed || errno == EAGAIN || errno == EINPROGRESS;
    close(link);
    return there;
}

/* A shell puts the server into a session of its own and ends at once, so that the server is never
 * a child of the host: no zombie, and no signal of the host's terminal. */
bool start(const std::string &path) {
    if (access(path.c_str(), X_OK) != 0) return false;
    char shell[] = "sh", option[] = "-c", name[] = "audiosep", serve[] = "serve";
    /* It ends by itself when no instance has been there for ten minutes. */
    char idle[] = "--idle-exit", seconds[] = "600";
    char script[] = "unset LD_PRELOAD LD_LIBRARY_PATH PYTHONHOME; "
                    "if command -v setsid >/dev/null; then setsid \"$@\" & else \"$@\" & fi";
    std::string copy = path, address = variable("AUDIOSEP_ADDRESS");
    const bool tcp = address.compare(0, 4, "tcp:") == 0;
    std::string listen = tcp ? "--tcp" : "--socket", where = tcp ? address.substr(4) : address;
    char *const arguments[] = {shell, option, script, name, &copy[0], serve, idle, seconds,
                               address.empty() ? nullptr : &listen[0], &where[0], nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    for (int output : {1, 2})
        posix_spawn_file_actions_addopen(&actions, output, "/dev/null", O_WRONLY, 0);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
    /* What the host holds open is none of the server's. */
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
#endif
    pid_t child = 0;
    const int failed = posix_spawn(&child, "/bin/sh", &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed) return false;
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return true;
}
#endif

} // namespace

std::string launcher_file() {
#ifdef _WIN32
    return variable("LOCALAPPDATA") + "\\audiosep\\program.txt";
#else
    const std::string folder = variable("XDG_CONFIG_HOME");
    return (folder.empty() ? variable("HOME") + "/.config" : folder) + "/audiosep/program.txt";
#endif
}

Launch launch_server() {
    static std::mutex mutex;
    /* The last try, whose outcome all instances are told until the next. */
    static std::string tried;
    static Clock::time_point last;
    static Launch outcome = Launch::Waiting;
    static Clock::time_point looked = Clock::now() - kBetweenLooks;
    static bool there = false;
    const std::lock_guard<std::mutex> lock(mutex);
    if (Clock::now() - looked >= kBetweenLooks) {
        there = somebody_listens();
        looked = Clock::now();
    }
    if (there) return Launch::Waiting;
    const std::string path = program();
    if (path.empty()) return Launch::Unknown;
    if (path == tried && Clock::now() - last < kBetweenTries) return outcome;
    tried = path;
    last = Clock::now();
    outcome = start(path) ? Launch::Waiting : Launch::Failed;
    return outcome == Launch::Waiting ? Launch::Started : outcome;
}

} // namespace audiosep
