/**
 * Code page 437, the character set of the PC's text screen and of DOS. Index = byte. The control
 * bytes have pictures on the screen; 0 and 255 are blank.
 */
const LOW = ' ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼';
const HIGH =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»' +
  '░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀' +
  'αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ';
const ASCII = String.fromCharCode(...Array.from({ length: 0x7f - 0x20 }, (_, n) => n + 0x20));
// Every character is in the basic plane, so that an index of the string is a byte of the page.
const TABLE = `${LOW}${ASCII}⌂${HIGH}`;

/** One byte of code page 437 as the character that the screen shows. */
export function cp437(byte: number): string {
  return TABLE.charAt(byte & 255);
}
