// Clients ask for one model name; the file that `reground` writes says which adapter is meant by it now.
import fs from 'fs';

function body(request) {
    if (!request.requestText) {
        return '';
    }
    const asked = JSON.parse(request.requestText);
    try {
        const alias = JSON.parse(fs.readFileSync(request.variables.reground_alias));
        if (asked.model === alias.model) {
            asked.model = alias.adapter;
        }
    } catch (error) {
        request.error(`${request.variables.reground_alias}: ${error}`);  // nothing was promoted yet
    }
    return JSON.stringify(asked);
}

export default { body };
