// One misuse, by its number; the hardened variant must end the program with these words, or says nothing (0: none).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *volatile sink;

int main(int count, char **words) {
    volatile char *volatile block = malloc(100), *volatile other = malloc(100), *volatile large = malloc(100000);
    static char foreign[256] __attribute__((aligned(16)));
    switch (count > 1 ? atoi(words[1]) : 0) {
        case 0: break;
        case 1: free(foreign + 16); break;
        case 2: free((void *)(block + 16)); break;
        case 3: free((void *)(block)); free((void *)(block)); break;
        case 4: free((void *)(block)); free((void *)(other)); free((void *)(block)); break;
        case 5: free((void *)(large)); free((void *)(large)); break;
        case 6: free((void *)(large + 4096)); break;
        case 7: free((void *)(block)); for (int i = 0; i < 100; i++) block[i] = 0x41; for (int i = 0; i < 3; i++) sink = malloc(100); break;
        case 8: free((void *)(block)); block[9] ^= 1; for (int i = 0; i < 3; i++) sink = malloc(100); break;
    }
    puts("not noticed");
    return 0;
}
