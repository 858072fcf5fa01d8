import type * as KoffiModule from 'koffi';
import { createRequire } from 'node:module';
import { getSystemErrorMap } from 'node:util';
import { EnvironmentError } from '#base/mod.ts';

/**
 * The C library through koffi, loaded on the first call that needs it: a program that never needs
 * one starts without it. Numbers are passed as plain numbers (addresses too: user space ends at
 * 2^47), which is the cheapest form koffi has; 64-bit results come back as numbers.
 */
type Koffi = typeof KoffiModule;

/** A C function: numbers, addresses and bytes in, a number out. */
export type NativeCall = (...args: (number | Uint8Array | null)[]) => number;

/** A C function that can also run in libuv's thread pool. */
export type NativeCallAsync = NativeCall & {
  async(...args: [...(number | Uint8Array)[], (error: unknown, result: number) => void]): void;
};

/** Computes once, on first use. */
export function lazy<T>(make: () => T): () => T {
  let value: { readonly of: T } | undefined;
  return () => {
    value ??= { of: make() };
    return value.of;
  };
}

/** The koffi module; throws EnvironmentError `no-native` where its binary cannot be loaded. */
export const koffi: () => Koffi = lazy(() => {
  try {
    // createRequire: a static import would load the native binary in every process.
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch (cause) {
    throw new EnvironmentError(
      'no-native',
      {
        what: 'the operating system cannot be called directly',
        why: `the native part of "koffi" for ${process.platform}-${process.arch} does not load`,
        todo: 'run ./polyboot again so that it installs its dependencies',
      },
      { cause },
    );
  }
});

const libc = lazy(() => koffi().load(null));

/** Binds a C function by its prototype, on first call. Pointers are `uintptr_t` or `void *`. */
export function bindCall(prototype: string): () => NativeCallAsync {
  return lazy(() => libc().func(prototype) as unknown as NativeCallAsync);
}

/** errno of the last native call of this thread. */
export function lastErrno(): number {
  return koffi().errno();
}

/**
 * The memory address of `bytes`. Keep a live reference to `bytes` for as long as the kernel may use
 * the address: a collected buffer hangs or crashes the process.
 */
export function addressOf(bytes: Uint8Array | Uint32Array): number {
  return Number(koffi().address(bytes));
}

/** The name of an errno value: 2 → "ENOENT". */
export function errnoName(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[0] ?? `errno ${errno}`;
}

/** The meaning of an errno value: 2 → "no such file or directory". */
export function errnoText(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[1] ?? `error ${errno}`;
}

/**
 * A failed system call as an error. `code` is the errno name, so `errnoOf` of #base reads it as it
 * reads Node's own errors.
 */
export function systemError(errno: number, what: string, todo?: string): EnvironmentError {
  const why = `${errnoText(errno)} (${errnoName(errno)})`;
  return new EnvironmentError(
    errnoName(errno),
    todo === undefined ? { what, why } : { what, why, todo },
  );
}

/** Returns `result`, or throws the errno of a call that returned a negative value. */
export function check(result: number, what: string, todo?: string): number {
  if (result < 0) throw systemError(lastErrno(), what, todo);
  return result;
}
