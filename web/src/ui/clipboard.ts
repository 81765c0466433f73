/**
 * Copies a text that may still be on its way; resolves to false when the browser does not allow it. The clipboard is
 * asked at once, while the click still counts as one: Safari does not allow it later.
 */
export async function copyText(text: string | Promise<string>): Promise<boolean> {
  try {
    if (typeof text === "string" || typeof ClipboardItem === "undefined") {
      await navigator.clipboard.writeText(await text);
    } else {
      const blob = text.then((done) => new Blob([done], { type: "text/plain" }));
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
    }
    return true;
  } catch {
    return false;
  }
}
