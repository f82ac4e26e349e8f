/* The Caesar cipher in C, without a library of any kind.
 *
 * The functions below are called as the Canonical ABI says, by the names that it gives them:
 * https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
 * A record is a struct, a list or a string is where it begins and how many there are of it,
 * and what does not fit into one number is returned by its address.
 */
#include <stdint.h>

#define CIPHER "cipherecho:plugin/cipher@1.0.0"
#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* ---- The types of cipher.wit ---- */

typedef struct { const char *start; uint32_t size; } string;
typedef struct { uint8_t *start; uint32_t size; } bytes;

#define TEXT(literal) {literal, sizeof literal - 1}
#define LIST(array) {array, sizeof array / sizeof *array}

typedef struct { uint8_t given; string value; } optional_string;
typedef struct { string name, takes; optional_string default_value; string help; } cipher_option;
typedef struct { string plaintext, ciphertext, source, options; } vector;
typedef struct {
    string help;
    struct { const cipher_option *start; uint32_t count; } options;
    struct { const vector *start; uint32_t count; } vectors;
    enum { EXACT, LOSSY, NONE } __attribute__((packed)) inverse;
} description;

typedef struct { string name, value; } given_option;
typedef enum { ENCRYPT, DECRYPT } direction;
typedef struct {
    enum { STARTED, BAD_OPTION } __attribute__((packed)) outcome;
    union { uint32_t transform; struct { string name, expected; } bad_option; };
} started;

typedef struct {
    enum { CODED, REJECTED } __attribute__((packed)) outcome;
    union { bytes code; string reason; };
} coded;
typedef struct { coded *start; uint32_t count; } list_of_coded;

/* ---- Memory ----
 *
 * The host asks for room for what it passes, one piece after the other, and tells when it
 * has read what was returned. Then all is free again.
 */

extern uint8_t __heap_base; /* after the data and the stack, says the linker */
static uint8_t *top = &__heap_base;

static void *allocate(uint32_t size, uint32_t align)
{
    const uint32_t page = 65536;
    uint8_t *start = (uint8_t *)(((uintptr_t)top + align - 1) & -align);
    uint32_t room = __builtin_wasm_memory_size(0) * page - (uintptr_t)start;
    if (room < size && __builtin_wasm_memory_grow(0, (size - room - 1) / page + 1) == -1ul)
        __builtin_trap();
    top = start + size;
    return start;
}

EXPORT("cabi_realloc")
void *reallocate(void *old, uint32_t had, uint32_t align, uint32_t size)
{
    void *start = allocate(size, align);
    __builtin_memcpy(start, old, had < size ? had : size);
    return start;
}

EXPORT("cabi_post_" CIPHER "#[static]transform.start")
void free_started(void *result) { top = &__heap_base; }

EXPORT("cabi_post_" CIPHER "#[method]transform.code")
void free_coded(void *result) { top = &__heap_base; }

/* ---- The cipher ---- */

static const char takes[] = "a whole number, -25 to 25";

static const cipher_option options[] = {
    {
        TEXT("shift"),
        TEXT(takes),
        {1, TEXT("3")},
        TEXT("places to the right; to the left if negative"),
    },
};

static const vector vectors[] = {
    {
        TEXT("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        TEXT("DEFGHIJKLMNOPQRSTUVWXYZABC"),
        TEXT("Suetonius, Life of Julius Caesar, 56: D for A, and so with the rest "
             "(here of the modern alphabet)"),
        TEXT(""),
    },
    {
        TEXT("ABC"),
        TEXT("BCD"),
        TEXT("Suetonius, Life of Augustus, 88: B for A, C for B, and so on "
             "(but AA for the last letter, unlike here)"),
        TEXT("1"),
    },
    {
        TEXT("THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"),
        TEXT("QEB NRFZH YOLTK CLU GRJMP LSBO QEB IXWV ALD"),
        TEXT("Wikipedia, «Caesar cipher», the example with a left shift of three"),
        TEXT("shift=-3"),
    },
    {
        TEXT("Größe, café\nXyz 7!"),
        TEXT("Juößh, fdié\nAbc 7!"),
        TEXT("our own: foreign letters and digits stay, case is kept"),
        TEXT(""),
    },
};

EXPORT(CIPHER "#describe")
const description *describe(void)
{
    static const description caesar = {
        TEXT("Moves every letter the same number of places along the alphabet of 26."),
        LIST(options),
        LIST(vectors),
        EXACT,
    };
    return &caesar;
}

/* Reads a sign, which may be left out, and digits. Returns 0 if it is anything else, or out
 * of range. */
static int parse_shift(string text, int *shift)
{
    uint32_t at = 0;
    int negative = text.size > 0 && text.start[0] == '-', number = 0;
    if (text.size > 0 && (text.start[0] == '-' || text.start[0] == '+'))
        at++;
    if (at == text.size)
        return 0;
    for (; at < text.size; at++) {
        if (text.start[at] < '0' || text.start[at] > '9')
            return 0;
        number = number * 10 + text.start[at] - '0';
        if (number > 25)
            return 0;
    }
    *shift = negative ? -number : number;
    return 1;
}

/* A transform is a handle on a number of our choice: the address of its state, usually. All
 * that this cipher has to know fits into the number: how many places to the right, 0 to 25. */
IMPORT("[export]" CIPHER, "[resource-new]transform")
uint32_t new_transform(uint32_t places);

EXPORT(CIPHER "#[static]transform.start")
const started *start(const given_option *given, uint32_t count, direction which)
{
    static started result;
    int shift = 3;
    if (count && !parse_shift(given[0].value, &shift)) { /* there is but one option */
        result = (started){BAD_OPTION, .bad_option = {TEXT("shift"), TEXT(takes)}};
        return &result;
    }
    if (which == DECRYPT)
        shift = -shift;
    result = (started){STARTED, .transform = new_transform((shift + 26) % 26)};
    return &result;
}

EXPORT(CIPHER "#[method]transform.copy")
uint32_t copy(uint32_t places)
{
    return new_transform(places);
}

EXPORT(CIPHER "#[method]transform.code")
const list_of_coded *code(uint32_t places, bytes *lines, uint32_t count)
{
    static list_of_coded result;
    result = (list_of_coded){allocate(count * sizeof(coded), _Alignof(coded)), count};
    const uint8_t right = places, left = places - 26; /* bytes: 16 are added at once */
    for (uint32_t n = 0; n < count; n++) {
        bytes line = lines[n]; /* in our memory, so it is coded where it is */
        for (uint32_t at = 0; at < line.size; at++) {
            uint8_t letter = (line.start[at] | 0x20) - 'a';
            line.start[at] += letter >= 26 ? 0 : letter < 26 - places ? right : left;
        }
        result.start[n] = (coded){CODED, .code = line};
    }
    return &result;
}
