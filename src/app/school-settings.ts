import { z } from 'zod';
import type { SchoolRecord } from '#dhcp/mod.ts';
import type { SettingsStore } from '#store/mod.ts';

const KEY = 'proxy-schools';
const records = z.array(
  z.object({ mac: z.string(), school: z.enum(['direct', 'boot-server', 'binl']) }),
);

/** Which proxyDHCP answer worked for which machine, as an earlier run noted it. */
export function rememberedSchools(settings: SettingsStore): SchoolRecord[] {
  const text = settings.get(KEY);
  if (text === undefined) return [];
  // A hint, not state: what cannot be read is learnt again at the next boot.
  const parsed = records.safeParse(parseJson(text));
  return parsed.success ? parsed.data : [];
}

/** Notes it for the next run. */
export function rememberSchools(settings: SettingsStore, proven: readonly SchoolRecord[]): void {
  const text = JSON.stringify(proven);
  if (settings.get(KEY) !== text) settings.set(KEY, text);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
