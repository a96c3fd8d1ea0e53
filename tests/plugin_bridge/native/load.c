/* Loads a plug-in for Windows and prints its name: of a CLAP as its factory has it.
 *
 *     load FILE
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <windows.h>

typedef struct {
    uint32_t version[3];
    const char *id, *name;
} clap_descriptor;

typedef struct {
    uint32_t (*count)(const void *factory);
    const clap_descriptor *(*descriptor)(const void *factory, uint32_t index);
} clap_factory;

typedef struct {
    uint32_t version[3];
    int8_t (*init)(const char *path);
    void (*deinit)(void);
    const clap_factory *(*factory)(const char *id);
} clap_entry;

int main(int count, char **given) {
    HMODULE loaded = count == 2 ? LoadLibraryA(given[1]) : NULL;
    if (!loaded) return printf("error %lu\n", GetLastError()), 1;
    const clap_entry *entry = (const clap_entry *)(void *)GetProcAddress(loaded, "clap_entry");
    if (entry) {
        if (!entry->init(given[1])) return 2;
        const clap_factory *factory = entry->factory("clap.plugin-factory");
        if (!factory || factory->count(factory) != 1) return 3;
        printf("%s\n", factory->descriptor(factory, 0)->name);
        entry->deinit();
        return 0;
    }
    void *(*factory)(void) = (void *(*)(void))(void *)GetProcAddress(loaded, "GetPluginFactory");
    if (!factory || !factory()) return 4;
    printf("a factory of VST3\n");
    return 0;
}
