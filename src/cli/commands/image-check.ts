import { JSON_OPTION, type Command } from '../command.ts';
import { actOnImage } from './image-act.ts';

/** `polyboot image check`. */
export const imageCheck: Command = {
  words: ['image', 'check'],
  summary: 'check every layer of an image, and the partitions on it; changes nothing',
  args: [{ name: 'name', help: 'image, or IMAGE@NUMBER' }],
  options: [JSON_OPTION],
  run: (call, context) => actOnImage(call, context, { action: 'check' }),
};

/** `polyboot image repair`. */
export const imageRepair: Command = {
  words: ['image', 'repair'],
  summary: 'mend the structure of an image, and with --geometry the tables of a DOS disk',
  args: [{ name: 'name', help: 'image' }],
  options: [
    {
      flags: '--geometry',
      help: 'partition table and boot sectors, so that iPXE guesses what DOS was installed with',
    },
    JSON_OPTION,
  ],
  run: (call, context) => {
    const geometry = call.flag('geometry') ? { geometry: true } : {};
    return actOnImage(call, context, { action: 'repair', ...geometry });
  },
};
