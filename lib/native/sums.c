/* The sums of the cache's format: `mix`, `pieceSeed`, `blockSeed` and `sumsOf` of lib/cache/format.ts. */
#include "system.h"

enum { BLOCK = 16384 };

static word (*crc32)(unsigned long, const byte *, word);

int annexfs_can_sum(void) {
  /* zlib is a part of Node.js, and much faster than what could be compiled here. */
  if (crc32 == 0) crc32 = (word(*)(unsigned long, const byte *, word))dlsym(0, "crc32");
  return crc32 != 0;
}

word annexfs_mix(word value) {
  value ^= value >> 16;
  value *= 0x85ebca6bu;
  value ^= value >> 13;
  value *= 0xc2b2ae35u;
  return value ^ (value >> 16);
}

word annexfs_piece_seed(word space, word piece, word stamp) {
  return annexfs_mix(annexfs_mix(space ^ annexfs_mix(piece)) ^ stamp);
}

word annexfs_sums(word seed, const byte *bytes, size_type length, word *sums) {
  size_type at;
  word count = 0;
  for (at = 0; at < length; at += BLOCK, count++) {
    size_type size = length - at < BLOCK ? length - at : BLOCK;
    sums[count] = (word)crc32(annexfs_mix(seed + count), bytes + at, (word)size);
  }
  return count;
}
