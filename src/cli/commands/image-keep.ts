import type { OverlayView } from '#api/mod.ts';
import { JSON_OPTION, misused, type Call, type Command, type Context } from '../command.ts';
import { safe } from '../screen.ts';

/** "p4" or "p4.1" → whose overlays are meant. Throws `misused`. */
export function overlayOwner(text: string): { machine: string; index?: number } {
  const match = /^([^.]+)(?:\.(\d))?$/.exec(text);
  if (match?.[1] === undefined) {
    throw misused(`"${text}" names no machine`, 'write MACHINE, or MACHINE.DRIVE such as p4.0');
  }
  return { machine: match[1], ...(match[2] === undefined ? {} : { index: Number(match[2]) }) };
}

const args = [{ name: 'machine', help: 'machine, or MACHINE.DRIVE for one of its drives' }];

/** `polyboot image keep`. */
export const imageKeep: Command = {
  words: ['image', 'keep'],
  summary: 'the next boot of a machine goes on with what it has written',
  args,
  options: [JSON_OPTION],
  run: (call, context) => wish(call, context, 'keep'),
};

/** `polyboot image discard`. */
export const imageDiscard: Command = {
  words: ['image', 'discard'],
  summary: 'the next boot of a machine begins from the golden image again',
  details: 'Of a machine or drive that is gone, what it has written is removed at once.',
  args,
  options: [JSON_OPTION],
  run: (call, context) => wish(call, context, 'discard'),
};

async function wish(
  call: Call,
  { client, screen }: Context,
  action: 'keep' | 'discard',
): Promise<number> {
  const result = await client.actOnOverlays({ action, ...overlayOwner(call.arg('machine')) });
  if (call.flag('json')) {
    screen.json(result);
    return 0;
  }
  for (const overlay of result.overlays) screen.line(safe(wishLine(overlay)));
  if (result.overlays.length === 0) screen.line('removed');
  return 0;
}

function wishLine({ machine, image, kept, next }: OverlayView): string {
  const stays = next === 'keep' || (next === undefined && kept);
  return stays
    ? `${machine}: the next boot goes on with its overlay of ${image}`
    : `${machine}: the next boot begins with a new overlay of ${image}`;
}
