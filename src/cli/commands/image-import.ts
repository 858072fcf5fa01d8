import { resolve } from 'node:path';
import { IMAGE_FORMATS } from '#api/mod.ts';
import type { Command } from '../command.ts';
import { makeImage, NEW_IMAGE_OPTIONS, noteOf } from './image-work.ts';

/** `polyboot image import`. */
export const imageImport: Command = {
  words: ['image', 'import'],
  summary: 'copy a disk image of any usual kind into the library, checked first',
  details:
    'Raw, qcow2, vmdk, vhd, vhdx, vdi and ISO files, also within .gz, .xz or .zst. The kind follows\n' +
    'from the name of the file, or from --format; never from its content.\n' +
    'Example: polyboot image import /data/win98.vmdk.gz --name win98',
  args: [{ name: 'path', help: 'file on the server' }],
  options: [
    { flags: '--name <NAME>', help: 'name (default: from the path)' },
    {
      flags: '--format <FORMAT>',
      help: 'what the file is, where its name does not say',
      choices: IMAGE_FORMATS.in,
    },
    ...NEW_IMAGE_OPTIONS,
  ],
  run: (call, context) => {
    const name = call.text('name');
    const format = IMAGE_FORMATS.in.find((known) => known === call.text('format'));
    const path = resolve(context.cwd, call.arg('path'));
    const more = {
      ...(name === undefined ? {} : { name }),
      ...(format === undefined ? {} : { format }),
      ...noteOf(call),
    };
    return makeImage({ action: 'import', path, ...more }, call, context);
  },
};
