import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DecodeError } from '#base/mod.ts';
import { cp437 } from './cp437.ts';
import type { QmpClient } from './qmp.ts';

/**
 * The PC's colour text screen: 25 rows of 80 cells, each a character byte and an attribute byte.
 */
const ROWS = 25;
const COLUMNS = 80;
const TEXT_MEMORY = 0xb8000;
const TEXT_BYTES = ROWS * COLUMNS * 2;

/**
 * The cells of text memory as 25 lines without trailing blanks. Throws DecodeError if cut short.
 */
export function decodeTextScreen(memory: Uint8Array): string[] {
  if (memory.length < TEXT_BYTES) {
    throw new DecodeError('text-screen', 'the text screen is cut short', memory.length);
  }
  return Array.from({ length: ROWS }, (_, row) => {
    let line = '';
    for (let column = 0; column < COLUMNS; column++) {
      line += cp437(memory[(row * COLUMNS + column) * 2] ?? 0);
    }
    return line.trimEnd();
  });
}

/**
 * The guest's BIOS text screen, character by character out of its memory (no picture, no guessing).
 * Right for firmware, iPXE and DOS; Linux scrolls by moving the start of the screen, and a guest in
 * graphics mode has nothing here. `folder` takes a short-lived file. Throws QmpError.
 */
export async function readTextScreen(qmp: QmpClient, folder: string): Promise<string[]> {
  const file = join(folder, 'text-screen');
  await qmp.execute('pmemsave', { val: TEXT_MEMORY, size: TEXT_BYTES, filename: file });
  const memory = await readFile(file);
  await rm(file);
  return decodeTextScreen(memory);
}

/** Saves a picture of the guest's screen. QEMU writes PPM, and PNG from 7.1 on. Throws QmpError. */
export async function saveScreenPicture(
  qmp: QmpClient,
  file: string,
  format: 'png' | 'ppm' = 'png',
): Promise<void> {
  await qmp.execute('screendump', { filename: file, ...(format === 'png' ? { format } : {}) });
}
