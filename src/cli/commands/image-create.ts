import { IMAGE_PRESETS } from '#api/mod.ts';
import { misused, type Command } from '../command.ts';
import { makeImage, NEW_IMAGE_OPTIONS, noteOf, sizeOf } from './image-work.ts';

/** `polyboot image create`. */
export const imageCreate: Command = {
  words: ['image', 'create'],
  summary: 'a blank disk, laid out for DOS, for Windows 9x, or with an empty GPT',
  args: [{ name: 'name', help: 'name of the new image' }],
  options: [
    {
      flags: '--preset <PRESET>',
      help: 'layout: partition table and file system as that system wants them',
      choices: IMAGE_PRESETS,
      fallback: 'gpt',
    },
    { flags: '--size <SIZE>', help: 'such as 504M, 2G, 7.8G; becomes the nearest that fits' },
    { flags: '--label <TEXT>', help: 'volume label, at most 11 characters' },
    ...NEW_IMAGE_OPTIONS,
  ],
  run: (call, context) => {
    const sizeBytes = sizeOf(call);
    if (sizeBytes === undefined) throw misused('--size is needed', 'for example: --size 504M');
    const preset = IMAGE_PRESETS.find((known) => known === call.text('preset')) ?? 'gpt';
    const label = call.text('label');
    const more = { ...(label === undefined ? {} : { label }), ...noteOf(call) };
    const name = call.arg('name');
    return makeImage({ action: 'create', name, preset, sizeBytes, ...more }, call, context);
  },
};
