// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token with 18 decimals: amounts that are meant in millionths would be a million-millionth of that.
contract TinyToken is ERC20 {
    constructor() ERC20("Tiny", "TINY") {}

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }
}
