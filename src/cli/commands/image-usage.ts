import { formatBytes } from '#base/mod.ts';
import { JSON_OPTION, type Command } from '../command.ts';

/** `polyboot image usage`. */
export const imageUsage: Command = {
  words: ['image', 'usage'],
  summary: 'what each layer of an image takes on the disk, and who shares it',
  args: [{ name: 'name', help: 'image' }],
  options: [JSON_OPTION],
  run: async (call, { client, screen }) => {
    const usage = await client.imageUsage(call.arg('name'));
    if (call.flag('json')) {
      screen.json(usage);
      return 0;
    }
    screen.fields({
      image: usage.name,
      'size of the disk': formatBytes(usage.virtualBytes),
      'its own': formatBytes(usage.ownBytes),
      shared: formatBytes(usage.sharedBytes),
    });
    screen.line();
    screen.table(
      ['LAYER', 'FORMAT', 'ON DISK', 'NEEDED BY'],
      usage.layers.map((layer) => [
        layer.path,
        `${layer.format}${layer.frozen ? ', frozen' : ''}`,
        layer.allocatedBytes === undefined ? '' : formatBytes(layer.allocatedBytes),
        layer.neededBy.join(', '),
      ]),
    );
    return 0;
  },
};
