import type { ImageView } from '#api/mod.ts';
import { formatBytes } from '#base/mod.ts';
import { JSON_OPTION, type Command } from '../command.ts';
import type { Screen } from '../screen.ts';
import { isoTime } from '../words.ts';

/** `polyboot image show`. */
export const imageShow: Command = {
  words: ['image', 'show'],
  summary: 'one image: where it is and who uses it',
  args: [{ name: 'name', help: 'image' }],
  options: [JSON_OPTION],
  run: async (call, { client, screen }) => {
    const image = await client.image(call.arg('name'));
    if (call.flag('json')) screen.json(image);
    else showImage(screen, image);
    return 0;
  },
};

/** An image as lines. */
export function showImage(screen: Screen, image: ImageView): void {
  const holders = image.holders.map(
    ({ machine, mode, index }) => `${machine} (${where(index)}${mode})`,
  );
  screen.fields({
    image: image.name,
    size: `${formatBytes(image.sizeBytes)} (${image.sizeBytes} bytes)`,
    kind: `${image.frozen ? 'golden, ' : ''}${image.kind}, blocks of ${image.blockBytes} bytes`,
    path: image.path,
    kept: image.owned ? 'by polyboot' : 'where it was (rm leaves the file)',
    source: image.source,
    made: isoTime(image.createdAtMs),
    note: image.note,
    'used by': holders.join(', ') || 'nobody',
  });
}

function where(index: number | undefined): string {
  return index === undefined ? '' : `drive 0x${(0x80 + index).toString(16)}, `;
}
