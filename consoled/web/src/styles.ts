/**
 * Lets xterm's DOM renderer work under `style-src 'self'`, without 'unsafe-inline'.
 *
 * The renderer writes rules as text into <style> elements and true colours through
 * setAttribute("style"); such a policy blocks both (even an empty <style>). The same rules and
 * declarations are allowed through the CSS object model, so they are sent that way: <style>
 * elements are replaced by stand-ins whose text goes to a constructed style sheet.
 */
export function installStrictStyles(): void {
  const createElement = document.createElement.bind(document) as (
    name: string,
    options?: ElementCreationOptions,
  ) => HTMLElement;
  document.createElement = (name: string, options?: ElementCreationOptions): HTMLElement =>
    name === "style" ? standIn() : createElement(name, options);

  const setAttribute = Element.prototype.setAttribute;
  HTMLSpanElement.prototype.setAttribute = function (name: string, value: string): void {
    if (name === "style") this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };
}

/** An inert element that can be put anywhere and passes its text on as rules. */
function standIn(): HTMLElement {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  return Object.defineProperty(document.createElement("template"), "textContent", {
    set: (rules: string) => sheet.replaceSync(rules),
  });
}
