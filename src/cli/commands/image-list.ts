import { formatBytes } from '#base/mod.ts';
import { JSON_OPTION, type Command } from '../command.ts';

/** `polyboot image list`. */
export const imageList: Command = {
  words: ['image', 'list'],
  summary: 'all images and who uses them',
  options: [JSON_OPTION],
  run: async (call, { client, screen }) => {
    const images = await client.images();
    if (call.flag('json')) screen.json(images);
    else {
      screen.table(
        ['NAME', 'SIZE', 'KIND', 'USED BY', 'NOTE'],
        images.map(({ name, sizeBytes, kind, frozen, holders, note }) => [
          name,
          formatBytes(sizeBytes),
          frozen ? 'golden' : kind,
          holders
            .map((h) => (h.mode === 'exclusive' ? h.machine : `${h.machine}:${h.mode}`))
            .join(', '),
          note ?? '',
        ]),
      );
    }
    return 0;
  },
};
