// C compilers that build the native part, the first that is there; the last is the smallest.
export const COMPILERS = ['cc', 'gcc', 'clang', 'tcc']
