import type { ImageRequestInput } from '#api/mod.ts';
import { formatBytes, parseSize } from '#base/mod.ts';
import { JSON_OPTION, misused, type Call, type Context, type OptionSpec } from '../command.ts';
import { ProgressView } from '../progress.ts';
import { showImage } from './image-show.ts';

/** What the server takes; here the unit that was left out is said in the words of the caller. */
const DISK_BYTES = { least: 512, most: 8 * 1024 ** 4 } as const;

/** Options of every command that makes an image. */
export const NEW_IMAGE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--note <TEXT>', help: 'a note for people' },
  JSON_OPTION,
];

/** Has the server make an image, shows its progress, then the image. Ctrl-C cancels. */
export async function makeImage(
  request: ImageRequestInput,
  call: Call,
  { client, screen, clock, signal }: Context,
): Promise<number> {
  const view = new ProgressView(screen, clock);
  try {
    const image = await client.makeImage(
      request,
      (step) => {
        view.step(step);
      },
      signal,
    );
    view.clear();
    if (call.flag('json')) screen.json(image);
    else showImage(screen, image);
    return 0;
  } catch (e) {
    view.clear();
    if (!signal.aborted) throw e;
    screen.note('cancelled; nothing was kept');
    return 1;
  }
}

/** The note of a new image, if there is one. */
export function noteOf(call: Call): { note?: string } {
  const note = call.text('note');
  return note === undefined ? {} : { note };
}

/** "504M" → bytes. Throws `misused`. */
export function sizeOf(call: Call): number | undefined {
  const text = call.text('size');
  if (text === undefined) return undefined;
  const bytes = parseSize(text);
  if (bytes === undefined || bytes === 0)
    throw misused(`"${text}" is no size`, 'write a number and a unit: 504M, 7.8G, 1T');
  if (bytes < DISK_BYTES.least || bytes > DISK_BYTES.most) {
    throw misused(
      `"${text}" is ${formatBytes(bytes)}, and a disk has 512 bytes to 8 TiB`,
      'write a number and a unit: 504M, 7.8G, 1T',
    );
  }
  return bytes;
}
