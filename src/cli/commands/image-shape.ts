import { JSON_OPTION, misused, type Command } from '../command.ts';
import { actOnImage } from './image-act.ts';
import { sizeOf } from './image-work.ts';

/** `polyboot image flatten`. */
export const imageFlatten: Command = {
  words: ['image', 'flatten'],
  summary: 'make one file of all the layers of an image',
  args: [{ name: 'name', help: 'image' }],
  options: [JSON_OPTION],
  run: (call, context) => actOnImage(call, context, { action: 'flatten' }),
};

/** `polyboot image resize`. */
export const imageResize: Command = {
  words: ['image', 'resize'],
  summary: 'make a disk larger; the partitions on it stay as they are',
  args: [{ name: 'name', help: 'image' }],
  options: [{ flags: '--size <SIZE>', help: 'new size, such as 8G' }, JSON_OPTION],
  run: (call, context) => {
    const sizeBytes = sizeOf(call);
    if (sizeBytes === undefined) throw misused('--size is needed', 'for example: --size 8G');
    return actOnImage(call, context, { action: 'resize', sizeBytes });
  },
};
