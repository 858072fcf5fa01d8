import type { HistoryView } from '#api/mod.ts';
import { formatBytes } from '#base/mod.ts';
import { JSON_OPTION, type Command } from '../command.ts';
import type { Screen } from '../screen.ts';
import { isoTime } from '../words.ts';

/** `polyboot image history`. */
export const imageHistory: Command = {
  words: ['image', 'history'],
  summary: 'points of an image that can be returned to, and the overlays of machines on it',
  args: [{ name: 'name', help: 'image' }],
  options: [JSON_OPTION],
  run: async (call, { client, screen }) => {
    const history = await client.imageHistory(call.arg('name'));
    if (call.flag('json')) screen.json(history);
    else showHistory(screen, history);
    return 0;
  },
};

function showHistory(screen: Screen, { points, overlays, frozen }: HistoryView): void {
  if (points.length === 0) screen.line('no points yet (polyboot image snapshot, or freeze)');
  else {
    const here = frozen ? 'present version' : 'the present stands on it';
    screen.table(
      ['POINT', 'MADE', 'SIZE', 'ON DISK', '', 'COMMENT'],
      points.map((point) => [
        String(point.number),
        isoTime(point.createdAtMs),
        formatBytes(point.sizeBytes),
        point.allocatedBytes === undefined ? '' : formatBytes(point.allocatedBytes),
        point.current ? here : '',
        point.comment ?? '',
      ]),
    );
  }
  if (overlays.length === 0) return;
  screen.line();
  screen.table(
    ['MACHINE', 'ON VERSION', 'BEGUN', 'ON DISK', 'NEXT BOOT'],
    overlays.map((overlay) => [
      overlay.gone ? `${overlay.machine} (removed)` : overlay.machine,
      `${overlay.version ?? 'none'}${overlay.behind ? ' (older)' : ''}`,
      isoTime(overlay.createdAtMs),
      overlay.allocatedBytes === undefined ? '' : formatBytes(overlay.allocatedBytes),
      overlay.next ?? (overlay.kept ? 'keep' : 'discard'),
    ]),
  );
}
