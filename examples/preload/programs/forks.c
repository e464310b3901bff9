// Threads allocate all the time; the process forks; each child must be able to allocate, to start threads and to fork.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int stop;

static void use(unsigned long seed, int rounds) {
    void *blocks[32] = {0};
    for (int i = 0; i < rounds; i++) {
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        unsigned slot = seed >> 59;
        free(blocks[slot]);
        size_t size = (seed >> 33) % (i % 16 ? 2000 : 200000) + 1;
        blocks[slot] = malloc(size);
        memset(blocks[slot], 1, size < 64 ? size : 64);
    }
    for (int i = 0; i < 32; i++) free(blocks[i]);
}

static void *busy(void *seed) { while (!stop) use((unsigned long)seed, 1000); return NULL; }
static void *once(void *seed) { use((unsigned long)seed, 3000); return NULL; }

// 1 if the child does not end well within its time.
static int child(int depth, void *inherited) {
    pid_t pid = fork();
    if (pid < 0) return 1;
    if (pid) { int status; return waitpid(pid, &status, 0) != pid || status != 0; }
    alarm(30);
    free(inherited);
    use(7, 2000);
    pthread_t thread;
    int bad = pthread_create(&thread, NULL, once, (void *)9UL) || pthread_join(thread, NULL);
    if (depth) bad |= child(depth - 1, malloc(300));
    _exit(bad);
}

int main(void) {
    pthread_t threads[3];
    for (unsigned long i = 0; i < 3; i++) pthread_create(&threads[i], NULL, busy, (void *)(i + 1));
    int bad = 0, forks = 0;
    for (; forks < 100 && bad < 3; forks++) {
        void *block = malloc(100);
        bad += child(forks % 10 == 0, block);
        free(block);
    }
    stop = 1;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    printf("forks: %d children failed\n", bad);
    return bad != 0;
}
