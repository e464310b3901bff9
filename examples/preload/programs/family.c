// What POSIX and the GNU C library's manual promise of malloc and its family; prints nothing that depends on addresses.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failures;
#define CHECK(what) do { if (!(what)) { printf("line %d: %s\n", __LINE__, #what); failures++; } } while (0)

// Sizes that the compiler cannot see through.
static size_t opaque(size_t size) { volatile size_t place = size; return place; }

static void *early;
__attribute__((constructor(101))) static void before_main(void) { early = malloc(100); memset(early, 1, 100); }
__attribute__((destructor(101))) static void after_main(void) { void *late = malloc(opaque(70000)); free(late); free(early); }

static void alignments(void) {
    for (size_t align = sizeof(void *); align <= 1 << 22; align *= 2)
        for (size_t size = 1; size < 9000000; size = size * 3 + 1) {
            void *block = NULL;
            CHECK(posix_memalign(&block, align, size) == 0 && (uintptr_t)block % align == 0);
            CHECK(malloc_usable_size(block) >= size);
            memset(block, 7, size);
            free(block);
        }
    for (size_t size = 0; size < 5000; size++) {
        char *block = malloc(size), *zero = calloc(1, size);
        CHECK((uintptr_t)block % 16 == 0 && block && zero && block != zero);
        for (size_t i = 0; i < size; i++) CHECK(zero[i] == 0);
        memset(block, 0xff, malloc_usable_size(block));
        memset(zero, 0xff, size);
        free(block);
        free(zero);
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *pages[4] = {valloc(10), pvalloc(1), aligned_alloc(64, 640), memalign(48, 10)};
    CHECK((uintptr_t)pages[0] % page == 0 && (uintptr_t)pages[1] % page == 0);
    CHECK(malloc_usable_size(pages[1]) >= page);
    CHECK((uintptr_t)pages[2] % 64 == 0 && (uintptr_t)pages[3] % 16 == 0);
    for (int i = 0; i < 4; i++) free(pages[i]);
}

static void errors(void) {
    void *block = (void *)1;
    errno = 0; CHECK(malloc(opaque(SIZE_MAX)) == NULL && errno == ENOMEM);
    errno = 0; CHECK(malloc(opaque(PTRDIFF_MAX)) == NULL && errno == ENOMEM);
    errno = 0; CHECK(calloc(opaque(SIZE_MAX / 2), 3) == NULL && errno == ENOMEM);
    errno = 0; CHECK(calloc(opaque(1UL << 40), opaque(1UL << 40)) == NULL && errno == ENOMEM);
    errno = 0; CHECK(pvalloc(opaque(SIZE_MAX)) == NULL && errno == ENOMEM);
    errno = 0; CHECK(aligned_alloc(3, 10) == NULL && errno == EINVAL);
    errno = 0; CHECK(aligned_alloc(4096, opaque(SIZE_MAX - 100)) == NULL && errno == ENOMEM);
    errno = 77;
    CHECK(posix_memalign(&block, 3, 10) == EINVAL && posix_memalign(&block, 4, 10) == EINVAL);
    CHECK(posix_memalign(&block, 64, opaque(SIZE_MAX - 10)) == ENOMEM);
    CHECK(block == (void *)1 && errno == 77);
    char *kept = malloc(10);
    strcpy(kept, "kept");
    errno = 0; CHECK(realloc(kept, opaque(SIZE_MAX - 10)) == NULL && errno == ENOMEM && !strcmp(kept, "kept"));
    errno = 0; CHECK(reallocarray(kept, opaque(SIZE_MAX / 2), 3) == NULL && errno == ENOMEM && !strcmp(kept, "kept"));
    free(kept);
    // free keeps errno, also where it calls the system.
    for (size_t size = 1; size < 100000000; size *= 4) {
        block = malloc(size);
        memset(block, 1, size);
        errno = 55;
        free(block);
        CHECK(errno == 55);
    }
    free(NULL);
    CHECK(errno == 55 && malloc_usable_size(NULL) == 0);
}

static void resizing(void) {
    unsigned char *block = realloc(NULL, 1);
    size_t old = 1;
    block[0] = 3;
    unsigned long seed = 1;
    for (int step = 0; step < 3000; step++) {
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        size_t size = (seed >> 33) % (step % 50 == 0 ? 20000000 : step % 5 ? 3000 : 300000) + 1;
        block = realloc(block, size);
        CHECK(block[0] == 3 && block[(old < size ? old : size) - 1] == 3);
        if (size > old) memset(block + old, 3, size - old);
        old = size;
    }
    CHECK(realloc(block, opaque(0)) == NULL);
}

static pthread_key_t key;
static void last_words(void *block) { free(block); free(malloc(3000)); }
static void *worker(void *box) {
    pthread_setspecific(key, malloc(500));
    void **blocks = box;
    for (int i = 0; i < 1000; i++) { free(blocks[i]); blocks[i] = malloc((size_t)i * 7 % 3000 + 1); }
    return NULL;
}
static void threads(void) {
    static void *blocks[1000];
    pthread_key_create(&key, last_words);
    for (int round = 0; round < 300; round++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, worker, blocks) == 0);
        pthread_join(thread, NULL);
    }
    for (int i = 0; i < 1000; i++) free(blocks[i]);
}

int main(void) {
    alignments();
    errors();
    resizing();
    threads();
    printf("family: %d failures\n", failures);
    return failures != 0;
}
